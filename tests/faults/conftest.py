"""What fault tests are given: an upstream, a clock to set, and where their figures go.

What they measured is printed when all have run, with xdist as without.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.figures import Figure
from tests.upstream import ScriptedUpstream

_LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """Notes a line for the end of the run."""
    return lambda text: record_property("figure", text)


@pytest.fixture
def sink() -> Iterator[ScriptedUpstream]:
    """An upstream of the test's own."""
    server = ScriptedUpstream()
    yield server
    server.close()


@pytest.fixture(scope="session")
def clock_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all: the fork server of another file would be another process, of 3 s of processor time."""
    return tmp_path_factory.mktemp("clock") / "clock"


@pytest.fixture
def clock(clock_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file whose text sets the clock of the servers that are started: `+1h`, say."""
    if _LIBRARY is None:
        pytest.skip("no libfaketime here: apt-get install faketime")
    if "FAKETIME" in os.environ:
        pytest.skip("the clock of the whole suite is set already: make later")
    clock_file.write_text("+0")
    for name, value in {
        "LD_PRELOAD": str(_LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(clock_file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }.items():
        monkeypatch.setitem(os.environ, name, value)
    yield clock_file


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = [
        f"{report.nodeid.partition('::')[2]}: {text}"
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, text in report.user_properties
        if name == "figure"
    ]
    if lines:
        terminalreporter.section("figures of the fault tests")
        for line in lines:
            terminalreporter.write_line(line)
