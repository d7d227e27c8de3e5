"""Figures: what a fault test measured is printed when all have run, with xdist as without."""

from collections.abc import Callable, Iterator

import pytest

from tests.upstream import Upstream

Figure = Callable[[str], None]


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """Notes a line for the end of the run."""
    return lambda text: record_property("figure", text)


@pytest.fixture
def sink() -> Iterator[Upstream]:
    """An upstream of the test's own."""
    server = Upstream()
    yield server
    server.close()


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
