"""Ways in which a server has no database for a while: each is a context."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.waypost_server import Waypost


def database(relay: Waypost) -> Path:
    return relay.folder / "data" / "waypost.db"


locked = Waypost.locked


@contextmanager
def moved_away(relay: Waypost) -> Iterator[None]:
    """The file has been moved away."""
    aside = database(relay).with_name("elsewhere.db")
    database(relay).rename(aside)
    yield
    assert not database(relay).exists(), "an empty database was made in its place"
    aside.rename(database(relay))


@contextmanager
def full(relay: Waypost) -> Iterator[None]:
    """The database cannot grow: the kernel refuses to write behind 32 KB of any file (the journal's are new)."""
    children = relay.children()
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    for child in children:
        resource.prlimit(child, resource.RLIMIT_FSIZE, (32 << 10, unlimited[1]))
    yield
    for child in children:
        resource.prlimit(child, resource.RLIMIT_FSIZE, unlimited)
