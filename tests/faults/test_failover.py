"""PostgreSQL with a standby that is promoted under load: mail and links go on, and nothing is lost or doubled."""

from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from tests.faults import IS_LONG
from tests.faults.figures import Figure
from tests.faults.load import Load, arrived, doubles
from tests.faults.queued_mail import drained
from tests.faults.replicated_postgresql import ReplicatedPostgreSQL, replicated
from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost, html_mail, tracking_urls

ROUNDS = 4 if IS_LONG else 1


@pytest.fixture
def servers() -> Iterator[ReplicatedPostgreSQL]:
    with replicated() as found:
        yield found


def test_a_restart_and_a_promoted_standby_under_load_lose_and_double_nothing(
    servers: ReplicatedPostgreSQL, tmp_path: Path, sink: ScriptedUpstream, figure: Figure
) -> None:
    def node(mode: str) -> Waypost:
        upstream = f'[[upstream]]\naddress = "127.0.0.1:{sink.port}"\ntls = "off"\n'
        database = f'[database]\nurl = "{servers.url}"\n'
        return Waypost(tmp_path / mode, None, f'{upstream}{database}[delivery]\nmode = "{mode}"\nretry = ["1s"]\n')

    inline, queued = node("inline"), node("queued")
    inline.cli("keys", "export", str(tmp_path / "sealed"), stdin=b"a long passphrase\n")
    queued.cli("keys", "import", str(tmp_path / "sealed"), stdin=b"a long passphrase\n")
    with inline, queued:
        inline.send(html_mail(), "link@example.com")
        [link] = tracking_urls(sink.to("link@example.com")[0].octets)["c"]
        path = link[link.index("/c/") :]
        answers, waits_s = 0, []
        with Load(inline.port, 2, 0.01) as first, Load(queued.port, 2, 0.01) as second:
            for turn in range(ROUNDS):
                if turn:
                    servers.follow()
                for fault in (servers.restart, servers.fail_over):
                    for load in (first, second):
                        load.wait_for(20)
                    began = monotonic()
                    fault()
                    first.wait_for(5)
                    assert all(one.get(path).status_code == 302 for one in (inline, queued))
                    answers += 2
                    second.wait_for(20)
                    waits_s.append(monotonic() - began)
        for one in (inline, queued):
            drained(one)
        assert len(inline.events("clicked", "link@example.com", answers)) == answers
        lost = (first.accepted | second.accepted) - set(arrived(sink))
        figure(
            f"{ROUNDS} restarts and {ROUNDS} standbys promoted, accepted {len(first.accepted)} inline and "
            f"{len(second.accepted)} queued, {sum(second.refused.values())} put off with 4xx; queued mail flows again "
            f"after {max(waits_s):.1f} s; lost {len(lost)}, twice {doubles(sink)}"
        )
        assert not lost and not doubles(sink)
        assert not first.refused and set(second.refused) <= {451}
        # A client that was put off sends again what was put off.
        assert not (first.put_off | second.put_off) & set(arrived(sink))
        # What was the first server is a standby now, and takes no writes.
        servers.follow()
        inline.stop()
        inline.start()
        assert inline.send(html_mail(), "again@example.com").startswith("250")
        assert len(inline.events("delivered", "again@example.com")) == 1
