"""What the configuration can say and this version cannot do yet.

A key that is read and then ignored would be a promise broken silently: it stops the start instead.
Each entry goes with the version that fulfils it.
"""

from collections.abc import Callable

from relay.config.schema import Config

_LATER: list[tuple[str, Callable[[Config], bool]]] = [
    ("[[webhook]]", lambda config: bool(config.webhook)),
]


def faults(config: Config) -> list[str]:
    """A line for each thing that is asked for and not there yet."""
    return [f"{key}: not available in this version of Waypost; remove it" for key, asks in _LATER if asks(config)]
