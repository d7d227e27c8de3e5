"""The state of this machine: certificates that end soon, and a clock that was set.

In: the configuration, and the machine's clocks.  Out: facts. What cannot be found out is left out.
"""

import contextlib
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509

from relay.clock_step import ClockStepDetector
from relay.config.schema import Config


class ClockStep(NamedTuple):
    """The clock was set by so much; `at`: when that was seen."""

    at: datetime
    offset: timedelta


class ClockWatch:
    """Remembers the last time that the clock was set, as far as this process has seen it."""

    def __init__(self) -> None:
        self._detector = ClockStepDetector(lambda: datetime.now(UTC), _elapsed_s)
        self._last: ClockStep | None = None

    def find_last_step(self) -> ClockStep | None:
        """The last step since this process began; None if there was none."""
        if step := self._detector.step():
            self._last = ClockStep(datetime.now(UTC), step)
        return self._last


def certificate_ends(config: Config) -> list[tuple[str, datetime]]:
    """When the certificate of each listener with TLS ends. One that cannot be read is left out."""
    found = []
    for listen in config.listen:
        if listen.tls != "off" and listen.certificate:
            with contextlib.suppress(OSError, ValueError):
                leaf = x509.load_pem_x509_certificate(Path(listen.certificate).read_bytes())
                found.append((str(listen.address), leaf.not_valid_after_utc))
    return found


def _elapsed_s() -> float:
    """A clock that only goes forward, also while the machine is suspended (not everywhere there is one)."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
