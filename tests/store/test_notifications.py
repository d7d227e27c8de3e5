"""PostgreSQL's notifications: what one process commits wakes another, and nothing is waited for without them."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from relay.store.database import notifications
from relay.store.queue import deliveries
from relay.store.store import Store
from tests.message_factory import NOW, new_message
from tests.upstream import ScriptedUpstream
from tests.waiting import until_async
from tests.waypost_server import Waypost, html_mail


@pytest.fixture
def shared(postgresql_with_tables: Callable[[], str], tmp_path: Path) -> Iterator[Store]:
    url = postgresql_with_tables()
    one = Store(url, tmp_path)
    yield one
    one.close()


async def _listened(store: Store, scene: Callable[[list[str]], object]) -> list[str]:
    """Listens while `scene` runs. Returns the channels that woke somebody."""
    woken: list[str] = []
    for channel in (notifications.QUEUE, notifications.WEBHOOKS):
        store.listener.wakes[channel] = lambda channel=channel: woken.append(channel)  # type: ignore[misc]
    listening = asyncio.create_task(store.listener.run())
    await until_async(lambda: store.listener.poll_s(1.0) == notifications.SLOW_POLL_S)
    woken.clear()  # it looks once for what came before
    await asyncio.to_thread(scene, woken)
    await until_async(lambda: woken)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    return woken


def test_what_is_committed_wakes_those_who_listen_once(shared: Store) -> None:
    def scene(_: list[str]) -> None:
        with pytest.raises(ZeroDivisionError):  # what is rolled back wakes nobody
            shared.writer.submit(_fail).result(60)
        shared.writer.submit(_insert_two).result(60)

    assert asyncio.run(_listened(shared, scene)) == [notifications.QUEUE]


def test_a_lost_connection_is_replaced_and_what_was_missed_is_looked_for(
    shared: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "_RETRY_S", 0.05)

    async def run() -> None:
        woken = await _listened(shared, lambda _: _end_listeners(shared))
        assert set(woken) == {notifications.QUEUE, notifications.WEBHOOKS}

    asyncio.run(run())


def test_without_notifications_the_poll_is_as_often_as_before(opened: Store) -> None:
    assert opened.listener.poll_s(0.5) == 0.5


def test_a_message_sent_again_by_a_command_is_attempted_by_a_running_server(
    postgresql_with_tables: Callable[[], str], tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    database = f'[database]\nurl = "{postgresql_with_tables()}"\n[delivery]\nmode = "queued"\nretry = ["1h"]\n'
    with Waypost(tmp_path, upstream.port, database) as relay:
        relay.send(html_mail(), "e451-4.3.0-n1+woken@example.com")
        assert relay.events("deferred", "e451-4.3.0-n1+woken@example.com")
        relay.cli("queue", "retry", "--all")
        assert relay.events("delivered", "e451-4.3.0-n1+woken@example.com")


def _fail(connection: sa.Connection) -> None:
    notifications.notify(connection, notifications.WEBHOOKS)
    raise ZeroDivisionError


def _insert_two(connection: sa.Connection) -> None:
    for content in ("first", "second"):
        deliveries.insert_message(connection, new=new_message(content, at=NOW))


def _end_listeners(store: Store) -> None:
    with store.connect() as connection:
        others = "FROM pg_stat_activity WHERE pid != pg_backend_pid() AND datname = current_database()"
        ended = f"SELECT pg_terminate_backend(pid) {others} AND query LIKE '%pg_notify($1%'"
        assert connection.execute(sa.text(ended)).all()
