"""Two nodes on one PostgreSQL before one upstream: they hold its rate in sum, and learn of each other's outages."""

from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest

from relay.node import maintenance
from tests.upstream import ScriptedUpstream
from tests.waiting import until
from tests.waypost_server import Waypost, html_mail

RATE_PER_S, MAILS = 20, 60


@pytest.fixture
def nodes(
    postgresql_with_tables: Callable[[], str], tmp_path: Path
) -> Iterator[tuple[Waypost, Waypost, ScriptedUpstream]]:
    upstream = ScriptedUpstream()
    url = postgresql_with_tables()
    tables = f'rate = "{RATE_PER_S}/s"\noutages = 1\n[database]\nurl = "{url}"\n[delivery]\nretry = ["1h"]\n'
    first, second = (Waypost(tmp_path / name, upstream.port, tables) for name in ("first", "second"))
    first.cli("keys", "export", str(tmp_path / "sealed"), stdin=b"a long passphrase\n")
    second.cli("keys", "import", str(tmp_path / "sealed"), stdin=b"a long passphrase\n")
    with first, second:
        yield first, second, upstream
    upstream.close()


def test_nodes_hold_a_rate_in_sum(nodes: tuple[Waypost, Waypost, ScriptedUpstream]) -> None:
    first, second, upstream = nodes
    workers = "SELECT count(DISTINCT worker) FROM upstream_state"
    until(lambda: first.sql(workers), fits=lambda rows: rows == [(2,)])
    sleep(maintenance.READ_PEERS_EVERY_S + 1)  # each has heard of the other
    begun = monotonic()
    for n in range(MAILS):
        (first, second)[n % 2].send(html_mail(), f"rated{n}@example.com")
    for n in (MAILS - 2, MAILS - 1):
        upstream.to(f"rated{n}@example.com")
    # Without shares it were half of that: each node sends half of the mails.
    assert monotonic() - begun > 0.9 * (MAILS - 2) / RATE_PER_S
    second.stop()
    assert first.sql(workers) == [(1,)]  # its share is the first one's


def test_an_outage_that_one_node_finds_is_known_to_the_other_until_its_own_probe_succeeds(
    nodes: tuple[Waypost, Waypost, ScriptedUpstream],
) -> None:
    first, second, upstream = nodes
    upstream.stop()
    first.send(html_mail(), "unreachable@example.com")  # again in an hour, so that the second does not try it
    first.wait_for_log(" upstream-out ")
    second.wait_for_log("found by another process")  # which has sent nothing
    upstream.start()
    for node in (first, second):
        node.wait_for_log(" upstream-back ")
    sleep(maintenance.READ_PEERS_EVERY_S)
    assert second.read_log().count(" upstream-out ") == 1  # nobody hears of it again
    assert "found by another process" not in first.read_log()
