"""Three machines on one PostgreSQL behind a TCP balancer, under load: restarted, killed, and with the database stopped.

Two of them are in queued mode, the third in inline mode. A killed one may send again what it was sending; nothing else
comes twice, and nothing that was answered with 250 is lost.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

import pytest

from relay import webhook_signatures
from relay.delivery.lease_renewal import LEASE
from tests import postgresql_server
from tests.faults import IS_LONG
from tests.faults.balancer import balanced
from tests.faults.figures import Figure
from tests.faults.load import Load, arrived, doubles
from tests.faults.stopped import stopped
from tests.receiver import Receiver, receiving
from tests.upstream import ScriptedUpstream
from tests.waiting import until
from tests.waypost_server import Waypost, html_mail, tracking_urls

CONNECTIONS = 4
KILLS, BETWEEN_KILLS_S = (6, 10.0) if IS_LONG else (2, 0.5)
ROUNDS = 5 if IS_LONG else 1
STOPPED_S = 20.0 if IS_LONG else 2.5
SECRET = webhook_signatures.new_secret()
URL = "https://shop.example/a?b=1"


class Cluster(NamedTuple):
    """The nodes, what is before them and what is behind."""

    nodes: list[Waypost]
    port: int
    upstream: ScriptedUpstream
    receiver: Receiver


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    postgresql_server.server()
    url, folder = postgresql_server.make_database_with_tables(), tmp_path_factory.mktemp("nodes")
    with ScriptedUpstream() as upstream, receiving() as receiver, ExitStack() as stack:
        nodes = [
            Waypost(
                folder / f"node{n}",
                None,
                f'[[upstream]]\naddress = "127.0.0.1:{upstream.port}"\ntls = "off"\nconnections = {CONNECTIONS}\n'
                f'[database]\nurl = "{url}"\n[delivery]\nmode = "{mode}"\nretry = ["1s"]\n'
                f'[[webhook]]\nurl = "{receiver.url}/nodes"\nevents = ["delivered"]\nsecret = "{SECRET}"\n',
            )
            for n, mode in enumerate(("queued", "queued", "inline"))
        ]
        sealed = folder / "keys.sealed"
        nodes[0].cli("keys", "export", str(sealed), stdin=b"a long passphrase\n")
        for node in nodes[1:]:
            node.cli("keys", "import", str(sealed), stdin=b"a long passphrase\n")
        for node in nodes:
            stack.enter_context(node)
        yield Cluster(nodes, stack.enter_context(balanced(lambda: [node.port for node in nodes])), upstream, receiver)


def _wait_for_all(cluster: Cluster, accepted: set[str]) -> None:
    """Waits until all that was accepted has arrived, and nothing waits for anybody."""

    def missing() -> set[str]:
        return accepted - set(arrived(cluster.upstream))

    until(lambda: not missing(), lambda: f"{len(missing())} of {len(accepted)} are lost")
    open_ = "SELECT count(*) FROM delivery WHERE next_attempt_at IS NOT NULL"
    until(lambda: cluster.nodes[0].sql(open_), fits=lambda rows: rows == [(0,)])


def _sent_by_webhook(cluster: Cluster) -> Counter[str]:
    return Counter(one.json["id"] for one in cluster.receiver.at("/nodes"))


def _delivered(cluster: Cluster) -> set[str]:
    return {id_ for (id_,) in cluster.nodes[0].sql("SELECT id FROM event WHERE type = 'delivered'")}


def test_mail_enters_anywhere_and_each_node_answers_each_link_once_counted(cluster: Cluster) -> None:
    for n, node in enumerate(cluster.nodes):
        assert node.send(html_mail(link=URL), f"link{n}@example.com").startswith("250")
    for n in range(3):
        [arrival] = cluster.upstream.to(f"link{n}@example.com")
        path = tracking_urls(arrival.octets)["c"][0].partition("/c/")[2]
        for node in cluster.nodes:
            assert node.get(f"/c/{path}").headers["location"] == URL
        assert len(cluster.nodes[n].events("clicked", f"link{n}@example.com", 3)) == 3


def test_a_rolling_restart_under_load_loses_and_doubles_nothing(cluster: Cluster, figure: Figure) -> None:
    before = doubles(cluster.upstream)
    with Load(cluster.port, pause_s=0.01) as load:
        for _ in range(ROUNDS):
            for node in cluster.nodes:
                load.wait_for(15)
                assert node.stop() == 0
                load.wait_for(15)
                node.start()
    _wait_for_all(cluster, load.accepted)
    twice = doubles(cluster.upstream) - before
    figure(f"{3 * ROUNDS} restarts, accepted {len(load.accepted)}, cut off {len(load.unsure)}, lost 0, twice {twice}")
    assert not twice and not load.unsure
    until(
        lambda: set(_sent_by_webhook(cluster)) >= _delivered(cluster),
        lambda: f"{len(_sent_by_webhook(cluster))} of {len(_delivered(cluster))} events sent",
    )
    assert max(_sent_by_webhook(cluster).values()) == 1


def test_killed_nodes_lose_nothing_and_double_only_what_they_were_sending(cluster: Cluster, figure: Figure) -> None:
    before = doubles(cluster.upstream)
    with Load(cluster.port, pause_s=0.01) as load:
        for n in range(KILLS):
            load.wait_for(20)
            victim = cluster.nodes[n % 3]
            victim.kill()
            load.wait_for(20)  # the others go on meanwhile
            sleep(BETWEEN_KILLS_S)
            victim.start()
    _wait_for_all(cluster, load.accepted)
    twice = doubles(cluster.upstream) - before
    figure(f"{KILLS} nodes killed, accepted {len(load.accepted)}, lost 0, twice {twice}")
    assert twice <= KILLS * 2 * CONNECTIONS


@pytest.mark.skipif(not IS_LONG, reason="200 s: WAYPOST_FAULTS=long")
def test_what_a_lost_node_held_is_taken_over_when_its_leases_end(cluster: Cluster, figure: Figure) -> None:
    lost, held = cluster.nodes[0], 12
    cluster.upstream.stop()
    cluster.upstream.greeting_after_s = 600.0
    cluster.upstream.start()
    for n in range(held):
        assert lost.send(html_mail(), f"held{n}@example.com").startswith("250")
    leased = cluster.nodes[1].sql("SELECT count(*) FROM delivery WHERE leased_by <> ''")[0][0]
    lost.kill()
    began = monotonic()
    cluster.upstream.greeting_after_s = 0.0
    for n in range(held):
        cluster.upstream.to(f"held{n}@example.com", timeout_s=LEASE.total_seconds() + 60)
    took_s = monotonic() - began
    lost.start()
    figure(f"{leased} leases of a lost node: all taken over within {took_s:.0f} s, lost 0")
    assert all(len(cluster.upstream.to(f"held{n}@example.com")) == 1 for n in range(held))


def test_while_the_database_stands_still_inline_mail_flows_and_links_answer(cluster: Cluster, figure: Figure) -> None:
    inline = cluster.nodes[2]
    inline.send(html_mail(link=URL), "still@example.com")
    [arrival] = cluster.upstream.to("still@example.com")
    [link] = tracking_urls(arrival.octets)["c"]
    path = link[link.index("/c/") :]
    answers = 0
    with Load(inline.port, threads=2, pause_s=0.01) as load:
        load.wait_for(5)
        with _stopped():
            end = monotonic() + STOPPED_S
            load.wait_for(10)
            while monotonic() < end:
                assert all(node.get(path).headers["location"] == URL for node in cluster.nodes)
                answers += 3
        load.wait_for(5)
    _wait_for_all(cluster, load.accepted)
    # None of the clicks is lost; those at the inline node may have found no message yet.
    assert len(inline.events("clicked", "still@example.com", answers)) == answers
    figure(f"{STOPPED_S:.0f} s: accepted {len(load.accepted)} inline, {answers} links answered, none lost or doubled")


def _stopped() -> AbstractContextManager[None]:
    """PostgreSQL with all its processes gets no processor time."""
    pid = postgresql_server.server().get_pid()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return stopped(int(pid or 0), *map(int, children))
