"""This machine: is its clock right, has its disk room, and how long does forcing a file to it take?"""

import contextlib
import ctypes
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from relay.config.schema import Config
from relay.node import data_directory
from relay.node.diagnosis.finding import Finding, fail, note, ok

_MIN_FREE_OCTETS = 1 << 30
_MIN_FREE_SHARE = 0.05
_MAX_CLOCK_OFFSET_S = 5.0
_MAX_FSYNC_MS = 50.0  # a mail costs one or two of them
_FSYNCS = 5
_STA_UNSYNC = 0x0040  # <sys/timex.h>
_TIMEX_OCTETS = 512  # more than any struct timex has
_STATUS_OFFSET = 40  # of `status` in it on 64-bit Linux: an int after modes (4, padded to 8) and four longs
_GB = 1 << 30


def check_data(config: Config) -> Iterator[Finding]:
    """Makes the data directory and the database ready, as a start does."""
    what = f"data and database in {config.relay.data_dir}"
    try:
        data_directory.prepare_data(config)
    except data_directory.StartupError as error:
        yield fail("data and database", str(error))
        return
    yield ok(what)
    if config.database.url.get_secret_value():
        yield from _compare_clocks(config)


def _compare_clocks(config: Config) -> Iterator[Finding]:
    """Leases are times of the machines that share a database."""
    what = "clock of the database's machine"
    try:
        with contextlib.closing(data_directory.open_store(config)) as store, store.connect() as connection:
            theirs: datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
            off_s = abs((theirs - datetime.now(UTC)).total_seconds())
    except sa.exc.SQLAlchemyError as error:
        yield fail("data and database", data_directory.describe_database_error(error))
        return
    if off_s > _MAX_CLOCK_OFFSET_S:
        yield fail(what, f"differs from ours by {off_s:.0f} s", "run a time service on both machines")
    else:
        yield ok(what, "agrees with ours")


def check_machine(config: Config) -> Iterator[Finding]:
    yield from _check_disk(config.relay.data_dir)
    yield from _check_clock()


def _check_disk(directory: Path) -> Iterator[Finding]:
    what = f"disk of {directory}"
    try:
        usage = shutil.disk_usage(directory)
        took_ms = _measure_fsync(directory)
    except OSError as error:
        yield fail(what, f"{error.strerror or error}", "see that [relay] data_dir is there and writable")
        return
    room = f"{usage.free / _GB:.1f} GB of {usage.total / _GB:.1f} GB free"
    if usage.free < _MIN_FREE_OCTETS or usage.free < _MIN_FREE_SHARE * usage.total:
        yield note(what, room, "make room, or keep less: [privacy] keep_content and keep_events")
    else:
        yield ok(what, room)
    speed = f"forcing a file to it takes {took_ms:.1f} ms"
    if took_ms > _MAX_FSYNC_MS:
        yield note(
            what, f"{speed}: each mail waits for that", "use a disk of this machine, an SSD, for [relay] data_dir"
        )
    else:
        yield ok(what, speed)


def _measure_fsync(directory: Path) -> float:
    """Milliseconds, the median. Raises OSError."""
    path = directory / f".doctor-{secrets.token_hex(6)}"
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        took = []
        for _ in range(_FSYNCS):
            os.write(file, bytes(4096))
            started = time.perf_counter()
            os.fsync(file)
            took.append(time.perf_counter() - started)
        return sorted(took)[_FSYNCS // 2] * 1000
    finally:
        os.close(file)
        path.unlink()


def _check_clock() -> Iterator[Finding]:
    """What the kernel says of its clock: adjtimex(2)."""
    if not sys.platform.startswith("linux") or sys.maxsize < 1 << 32:
        return
    state = ctypes.create_string_buffer(_TIMEX_OCTETS)  # modes 0: only read
    if ctypes.CDLL(None, use_errno=True).adjtimex(state) < 0:
        return
    if int.from_bytes(state.raw[_STATUS_OFFSET : _STATUS_OFFSET + 4], sys.byteorder) & _STA_UNSYNC:
        yield note("clock", "nothing keeps it right", "run a time service: timedatectl set-ntp true, or chrony")
    else:
        yield ok("clock", "is kept right by a time service")
