"""A database that hangs is one that is away: inline mail flows on, queued mail gets 4xx, and nothing is sent twice."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import LiteralString

import httpx
import psycopg
import pytest

from tests.edge.hanging_up import Impatient
from tests.faults import IS_LONG
from tests.faults.figures import Figure
from tests.faults.load import Load, arrived
from tests.faults.queued_mail import drained, settings
from tests.upstream import ScriptedUpstream
from tests.waiting import until
from tests.waypost_server import Waypost, html_mail, tracking_urls

_HANG_S = 45.0 if IS_LONG else 0.0
_SOON_S = 3.0  # within which an inline mail has its reply


class _DatabaseServer:
    """PostgreSQL, and a database of the test's own there."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._plain = url.replace("postgresql+psycopg://", "postgresql://", 1)

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self._plain)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """All its processes stand still: the kernel takes what is sent to them, and nobody answers."""
        with self.connect() as connection:
            row = connection.execute("SHOW data_directory").fetchone()
        assert row
        first = int(Path(row[0], "postmaster.pid").read_text().split()[0])
        os.kill(first, signal.SIGSTOP)  # from now on it has no new children
        pids = [first, *map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())]
        try:
            _signal(pids[1:], signal.SIGSTOP)
            yield
        finally:
            _signal(pids, signal.SIGCONT)

    @contextmanager
    def locked(self, table: LiteralString = "suppression") -> Iterator[None]:
        """Somebody changes a table: that which every mail looks into, or another."""
        with self.connect() as connection:
            connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield
            connection.rollback()


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # its client has gone
            os.kill(pid, number)


Hang = Callable[[_DatabaseServer], AbstractContextManager[None]]


@pytest.fixture
def server(postgresql_with_tables: Callable[[], str]) -> _DatabaseServer:
    return _DatabaseServer(postgresql_with_tables())


def _tables(server: _DatabaseServer, sink: ScriptedUpstream, mode: str) -> str:
    return f'{settings(sink, mode)}[database]\nurl = "{server.url}"\n'


@pytest.mark.parametrize("hang", [_DatabaseServer.stopped, _DatabaseServer.locked])
def test_inline_mail_flows_on_and_links_answer(
    hang: Hang, server: _DatabaseServer, tmp_path: Path, sink: ScriptedUpstream, figure: Figure
) -> None:
    with Waypost(tmp_path, None, _tables(server, sink, "inline")) as relay:
        relay.cli("suppressions", "add", "gone@example.com")
        relay.send(html_mail(), "before@example.com")
        [url] = tracking_urls(sink.to("before@example.com")[0].octets)["c"]
        longest_s, count = 0.0, 0
        with Load(relay.port, threads=2, pause_s=0.02) as load:
            load.wait_for(5)
            with hang(server):  # until all this is done: who waits for the database waits for ever
                end = monotonic() + _HANG_S
                while count < 5 or monotonic() < end:
                    started = monotonic()
                    assert relay.send(html_mail(), f"{count}@during.example").startswith("250 2.0.0 Ok: queued")
                    longest_s = max(longest_s, monotonic() - started)
                    assert httpx.get(url).status_code == 302
                    count += 1
            load.wait_for(5)
        until(lambda: "Ok: queued" not in relay.send(html_mail(), "gone@example.com"), every_s=0.1)
        drained(relay)
        assert (
            1 <= relay.read_log().count("database-unavailable reason=slow") <= 2 + _HANG_S // 60
        )  # mail's, and the links'
        figure(f"{count} mails taken while it hung, the slowest in {longest_s:.1f} s")
    assert longest_s < _SOON_S or not IS_LONG
    assert not load.refused and not load.unsure
    assert all(arrived(sink)[name] == 1 for name in load.accepted)
    assert all(len(sink.to(f"{n}@during.example")) == 1 for n in range(count))


def test_queued_mail_hears_451_within_seconds_and_is_not_sent_later(
    server: _DatabaseServer, tmp_path: Path, sink: ScriptedUpstream, figure: Figure
) -> None:
    with Waypost(tmp_path, None, _tables(server, sink, "queued")) as relay:
        with Load(relay.port, threads=3, pause_s=0.05) as load:
            load.wait_for(5)
            with server.stopped():
                end = monotonic() + max(_HANG_S, 30)
                while len(load.put_off) < 6 or (IS_LONG and monotonic() < end):
                    assert monotonic() < end + 1, load.refused
                    sleep(0.1)
            load.wait_for(5)
        drained(relay)
        figure(f"{len(load.put_off)} put off, {len(load.accepted)} taken")
    assert set(load.refused) == {451} and not load.unsure
    assert all(arrived(sink)[name] == 1 for name in load.accepted)
    assert not load.put_off & set(arrived(sink))


def test_what_is_committed_after_its_client_heard_451_is_taken_back(
    server: _DatabaseServer, tmp_path: Path, sink: ScriptedUpstream
) -> None:
    with Waypost(tmp_path, None, _tables(server, sink, "queued")) as relay:
        with server.locked("message"):  # so that the commit has begun
            assert relay.send(html_mail(), "refused@example.com").startswith("451 4.3.0")
        _no_trace(relay, sink, "refused@example.com")


def test_what_a_client_gave_up_on_while_it_was_committed_is_taken_back(
    server: _DatabaseServer, tmp_path: Path, sink: ScriptedUpstream
) -> None:
    with Waypost(tmp_path, None, _tables(server, sink, "queued")) as relay:
        with server.locked("message"), Impatient(relay, "waits@example.com") as other:
            Impatient(relay, "reset@example.com").reset()
            relay.wait_for_log(" client-hung-up message=")
            assert "not-stored" not in relay.read_log()  # the other one waits still: this one was not waited for
            assert other.reply() == 451
        _no_trace(relay, sink, "reset@example.com", "waits@example.com")


def _no_trace(relay: Waypost, sink: ScriptedUpstream, *recipients: str) -> None:
    """What comes after them has been sent, and nobody knows of them."""
    until(lambda: relay.send(html_mail(), "after@example.com"), fits=lambda reply: reply.startswith("250"), every_s=0)
    sink.to("after@example.com")
    drained(relay)
    for recipient in recipients:
        assert not relay.rows("messages", "--query", recipient)
        assert all(recipient not in arrival.recipients for arrival in sink.arrivals)


@pytest.mark.parametrize("mode", ["inline", "queued"])
def test_a_server_whose_database_hangs_can_be_stopped(
    mode: str, server: _DatabaseServer, tmp_path: Path, sink: ScriptedUpstream
) -> None:
    with Waypost(tmp_path, None, _tables(server, sink, mode), 'drain = "1s"\n') as relay:
        assert relay.send(html_mail(), "before@example.com").startswith("250")
        sink.to("before@example.com")
        with server.stopped():
            sleep(1.5)  # the queue has looked for work meanwhile
            assert relay.stop() == 0


@pytest.mark.parametrize(
    "hang", [_DatabaseServer.locked, _DatabaseServer.stopped] if IS_LONG else [_DatabaseServer.locked]
)
def test_a_mail_role_that_dies_meanwhile_is_replaced_and_takes_mail(
    hang: Hang, server: _DatabaseServer, tmp_path: Path, sink: ScriptedUpstream
) -> None:
    with Waypost(tmp_path, None, _tables(server, sink, "inline")) as relay:
        with hang(server):
            assert relay.send(html_mail(), "before@example.com").startswith("250")  # the journal has it
            os.kill(relay.children()[0], signal.SIGKILL)
            assert relay.send(html_mail(), "after@example.com").startswith("250 2.0.0 Ok: queued")
        drained(relay)
        for recipient in ("before@example.com", "after@example.com"):
            assert len(relay.events("delivered", recipient)) == 1
            assert len(sink.to(recipient)) == 1
