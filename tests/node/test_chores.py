"""Three nodes on one PostgreSQL: what one of them does for all is done once, and another takes over from it."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple

import pytest

from relay import webhook_signatures
from relay.store import chores, node_name
from relay.store.store import Store
from tests import postgresql_server
from tests.receiver import Receiver, receiving
from tests.upstream import ScriptedUpstream
from tests.waiting import until
from tests.waypost_server import Waypost, html_mail

NOW = datetime(2026, 11, 28, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)


class AlertingNodes(NamedTuple):
    """Nodes on one database, the upstream behind them, and where their alerts go."""

    nodes: list[Waypost]
    upstream: ScriptedUpstream
    receiver: Receiver

    def titles(self, words: str) -> list[str]:
        """Of the alerts so far that have these words."""
        return [one.json["title"] for one in self.receiver.at("/alerts") if words in one.json["title"]]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AlertingNodes]:
    pytest.importorskip("apprise", reason="pip install 'waypost[alerts]'")
    postgresql_server.server()
    url, folder = postgresql_server.make_database_with_tables(), tmp_path_factory.mktemp("chores")
    with ScriptedUpstream() as upstream, receiving() as receiver, ExitStack() as stack:
        alerts = receiver.url.replace("http://", "json://") + "/alerts"
        tables = (
            f'outages = 1\n[database]\nurl = "{url}"\n[delivery]\nmode = "queued"\nretry = ["1s"]\n'
            f'[alerts]\nurls = ["{alerts}"]\nevery = "1s"\n'
            f'[[webhook]]\nurl = "{receiver.url}/hook"\nsecret = "{webhook_signatures.new_secret()}"\n'
        )
        nodes = [Waypost(folder / f"node{n}", upstream.port, tables) for n in range(3)]
        # All at once, on a database without tables.
        starting = [threading.Thread(target=node.start) for node in nodes]
        for thread in starting:
            thread.start()
        for thread in starting:
            thread.join()
        for node in nodes:
            stack.callback(node.__exit__)
        yield AlertingNodes(nodes, upstream, receiver)


def _holder(cluster: AlertingNodes, chore: str) -> Waypost | None:
    """The node that has a chore."""
    found = cluster.nodes[0].sql("SELECT worker FROM chore WHERE name = :name", name=chore)
    names = {node_name.find(node.folder / "data"): node for node in cluster.nodes}
    return next((node for name, node in names.items() for (worker,) in found if worker.startswith(name)), None)


def test_a_chore_is_had_by_one_until_its_time_is_over(opened: Store) -> None:
    def take(worker: str, now: datetime, *, extends: bool = False) -> bool:
        job = partial(chores.take_chore, name="sweep", worker=worker, now=now, duration=HOUR, may_extend=extends)
        return opened.writer.submit(job).result(60)

    def is_free(now: datetime) -> bool:
        with opened.connect() as connection:
            return chores.is_free(connection, "sweep", now, HOUR)

    assert is_free(NOW) and take("a", NOW)
    assert not is_free(NOW) and not take("b", NOW) and not take("a", NOW)
    assert take("a", NOW + HOUR / 2, extends=True) and not take("b", NOW + HOUR, extends=True)
    assert take("b", NOW + 2 * HOUR) and not take("a", NOW + 2 * HOUR, extends=True)
    assert take("a", NOW - timedelta(days=1)), "the clock was set back"
    opened.writer.submit(partial(chores.release_chores, worker="a")).result(60)
    assert take("b", NOW)


def test_retention_is_done_by_one_node(cluster: AlertingNodes) -> None:
    for node in cluster.nodes:
        node.stop()
    with cluster.nodes[0].connected() as connection:
        connection.exec_driver_sql("LOCK TABLE pixel_hit IN ACCESS EXCLUSIVE MODE")  # which only retention needs
        for node in cluster.nodes:
            node.start()
        waits = (
            "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'DELETE FROM pixel_hit%'"
        )
        until(lambda: cluster.nodes[0].sql(waits))
        # Its writer waits with it; that of the others does not.
        replies = Counter(node.send(html_mail(), f"kept{n}@example.com")[:3] for n, node in enumerate(cluster.nodes))
        assert len(cluster.nodes[0].sql(waits)) == 1
    assert replies == {"250": 2, "451": 1}
    for node in cluster.nodes:  # the next test begins when all write again
        until(partial(node.send, html_mail(), "later@example.com"), fits=lambda reply: reply.startswith("250"))


def test_dsns_and_webhooks_are_sent_by_one_node_each(cluster: AlertingNodes) -> None:
    for n in range(9):
        sender, recipient = f"app{n}@sender.test", f"e550-5.1.1+chores{n}@example.com"
        assert cluster.nodes[n % 3].send(html_mail(), recipient, sender=sender).startswith("250")
    until(lambda: sum("@sender.test" in str(one.recipients) for one in cluster.upstream.arrivals) >= 9)
    open_ = "SELECT count(*) FROM delivery WHERE next_attempt_at IS NOT NULL OR dsn_due <> ''"
    until(lambda: cluster.nodes[0].sql(open_), fits=lambda rows: rows == [(0,)])
    until(lambda: cluster.nodes[0].sql("SELECT count(*) FROM webhook_queue"), fits=lambda rows: rows == [(0,)])
    told = Counter(to for one in cluster.upstream.arrivals for to in one.recipients if to.endswith("@sender.test"))
    assert told == {f"app{n}@sender.test": 1 for n in range(9)}
    assert set(Counter(one.json["id"] for one in cluster.receiver.at("/hook")).values()) == {1}


def test_rebuilds_on_all_nodes_at_once_count_everything_once(cluster: AlertingNodes) -> None:
    threads = [threading.Thread(target=node.cli, args=("stats", "rebuild")) for node in cluster.nodes]
    for thread in threads:
        thread.start()
    for n in range(9):
        assert cluster.nodes[n % 3].send(html_mail(), f"counted{n}@example.com").startswith("250")
    for thread in threads:
        thread.join()
    until(
        lambda: cluster.nodes[0].sql("SELECT count(*) FROM delivery WHERE next_attempt_at IS NOT NULL"),
        fits=lambda rows: rows == [(0,)],
    )
    hours = "SELECT type, count FROM roll_up WHERE period = 'hour' AND dimension = ''"
    changes = "SELECT type, count FROM roll_up_change WHERE dimension = ''"
    counted = f"SELECT type, sum(count) FROM ({hours} UNION ALL {changes}) c GROUP BY type"
    there_are = "SELECT type, count(*) FROM event GROUP BY type"
    assert dict(cluster.nodes[0].sql(counted)) == dict(cluster.nodes[0].sql(there_are))


def test_one_node_alerts_and_another_goes_on_where_it_stopped(cluster: AlertingNodes) -> None:
    until(lambda: _holder(cluster, chores.ALERTS))
    cluster.upstream.stop()
    cluster.nodes[0].send(html_mail(), "waits@example.com")
    until(lambda: cluster.titles("Upstream scripted is out"))
    until(lambda: all(" upstream-out " in node.read_log() for node in cluster.nodes))
    until(
        lambda: cluster.nodes[0].sql("SELECT problem FROM sent_alert"),
        fits=lambda rows: rows == [("upstream scripted",)],
    )
    first = _holder(cluster, chores.ALERTS)
    assert first is not None
    first.stop()
    until(lambda: _holder(cluster, chores.ALERTS) not in (None, first))
    cluster.upstream.start()
    until(lambda: cluster.titles("over: Upstream scripted is out"))
    first.start()
    assert len(cluster.titles("Upstream scripted is out")) == 2, "one when it began, and one when it was over"


def test_a_node_that_alerts_and_is_killed_has_a_successor(cluster: AlertingNodes) -> None:
    """It goes on where the other was: what was alerted of is not alerted of again, and its end is."""

    def set_state(state: str) -> None:
        cluster.nodes[0].sql("UPDATE webhook SET state = :state", state=state)

    set_state("disabled")
    until(lambda: cluster.nodes[0].sql("SELECT 1 FROM sent_alert WHERE problem LIKE 'webhook %'"))
    first = _holder(cluster, chores.ALERTS)
    assert first is not None
    first.kill()
    until(lambda: _holder(cluster, chores.ALERTS) not in (None, first))
    set_state("on")
    until(lambda: not cluster.nodes[0].sql("SELECT 1 FROM sent_alert WHERE problem LIKE 'webhook %'"))
    first.start()
    titles = [title.partition(": ")[2] for title in cluster.titles("is disabled")]
    assert len(titles) == 2 and titles[1] == f"over: {titles[0]}"
