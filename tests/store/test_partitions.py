"""PostgreSQL keeps events and attempts by month: no row is refused or lost, and expired months go whole."""

import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import sqlalchemy as sa

from relay import ids
from relay.event_type import EventType
from relay.store import events
from relay.store.database import engine, migrate, partitions, tables
from relay.store.database.tables import Status
from relay.store.events import NewEvent
from relay.store.store import Store
from relay.store.views import event_list
from relay.store.views.event_list import EventSearch
from tests import postgresql_server
from tests.message_factory import insert_messages, new_message
from tests.waiting import until
from tests.waypost_server import Waypost

MARCH = datetime(2031, 3, 9, tzinfo=UTC)
TABLES = (tables.event, tables.attempt)
# The columns that it had before there were months; later ones have a default.
_EARLIER_ATTEMPT = sa.table(
    "attempt", *(sa.column(one.name, one.type) for one in tables.attempt.c if one.name != "conversation")
)


@pytest.fixture
def url() -> str:
    """A database with its tables."""
    return postgresql_server.make_database_with_tables()


@pytest.fixture
def store(url: str, tmp_path: Path) -> Iterator[Store]:
    one = Store(url, tmp_path)
    yield one
    one.close()


def new_id(at: datetime) -> str:
    return ids.from_parts(int(at.timestamp() * 1000), os.urandom(6))


def happened(message: str, at: datetime) -> NewEvent:
    return NewEvent(new_id(at), EventType.DELIVERED, at, message, 0)


def record(connection: sa.Connection, message: str, *times: datetime) -> None:
    """An event and an attempt of each time."""
    events.append_events(connection, [happened(message, at) for at in times], {})
    row = {"message": message, "number": 0, "upstream": "u", "phase": "dot", "code": 250, "rule": ""}
    row |= {"status": "", "text": "ok", "took_ms": 1, "uncertain": False}
    connection.execute(sa.insert(_EARLIER_ATTEMPT), [{**row, "at": at} for at in times])


def by_partition(connection: sa.Connection, table: sa.Table) -> Counter[str]:
    """How many rows lie where."""
    return Counter(connection.scalars(sa.select(sa.literal_column("tableoid::regclass::text")).select_from(table)))


def written(store: Store, work: Callable[[sa.Connection], object]) -> None:
    store.writer.submit(work).result(60)


def make_months(store: Store, now: datetime) -> list[str]:
    return store.change_tables(partial(partitions.make_months, now=now))


def drop_months(store: Store, before: datetime) -> list[str]:
    """The names of those of 2031."""
    found: list[str] = []
    while dropped := store.change_tables(partial(partitions.drop_next_month, before=before)):
        found.append(dropped.name)
    return [name for name in found if "2031" in name]


def test_rows_go_into_their_month_and_a_row_of_any_other_time_is_kept(store: Store) -> None:
    assert make_months(store, MARCH) == [
        f"{table}_2031_{month:02}" for table in ("event", "attempt") for month in (3, 4, 5, 6)
    ]
    assert make_months(store, MARCH) == []  # they are there
    april, past, future = (datetime(*month, 1, tzinfo=UTC) for month in ((2031, 4), (2001, 1), (2040, 1)))
    times = [MARCH, april, past, future]
    written(store, lambda connection: record(connection, "m", *times, april - timedelta(milliseconds=1)))
    with store.connect() as connection:
        for table in TABLES:
            name = table.name
            expected = {f"{name}_2031_03": 2, f"{name}_2031_04": 1, f"{name}_default": 2}
            assert by_partition(connection, table) == expected


def test_an_event_is_stored_once_in_whichever_month(store: Store) -> None:
    one = happened("m", MARCH)
    written(store, lambda connection: events.append_events(connection, [one], {}))
    with pytest.raises(sa.exc.IntegrityError):  # its id alone is the key
        written(
            store,
            lambda connection: events.append_events(connection, [one._replace(at=MARCH + timedelta(days=90))], {}),
        )
    with store.connect() as connection:
        assert events.find_recorded(connection, [one.id, new_id(MARCH)]) == {one.id}


def test_rows_that_came_before_their_partition_was_made_move_into_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(store, lambda connection: record(connection, "m", MARCH, MARCH + timedelta(1), MARCH + timedelta(40)))
    monkeypatch.setattr(partitions, "MAX_MOVED", 1)
    made = make_months(store, MARCH)  # two of March are too many to be moved: they stay, and so does their month
    assert "event_2031_04" in made and "event_2031_03" not in made
    monkeypatch.undo()
    assert make_months(store, MARCH) == ["event_2031_03", "attempt_2031_03"]
    with store.connect() as connection:
        for table in TABLES:
            expected = {f"{table.name}_2031_03": 2, f"{table.name}_2031_04": 1}
            assert by_partition(connection, table) == expected
        assert len(list(connection.scalars(sa.select(tables.attempt.c.id).distinct()))) == 3


def test_several_nodes_make_the_same_months_at_once(store: Store, url: str, tmp_path: Path) -> None:
    others = [Store(url, tmp_path / str(n)) for n in range(3)]
    made: list[str] = []

    def work(one: Store) -> None:
        made.extend(make_months(one, MARCH))

    threads = [threading.Thread(target=work, args=(one,)) for one in (store, *others)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for one in others:
        one.close()
    assert len(made) == len(set(made)) == 8


def test_months_are_not_waited_for_while_somebody_reads_for_long(store: Store) -> None:
    with store.connect() as reading:
        reading.execute(sa.select(tables.event.c.id)).all()  # its locks stay until its transaction ends
        began_s = monotonic()
        with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
            make_months(store, MARCH)
        assert monotonic() - began_s < 20
    assert len(make_months(store, MARCH)) == 8


@pytest.fixture
def earlier(postgresql: Callable[[], str]) -> Iterator[sa.Engine]:
    """A database of the version before there were months."""
    opened = engine.open_engine(postgresql(), may_write=True)
    with opened.begin() as connection:
        migrate._migrate(connection, "0025")
    yield opened
    opened.dispose()


def read_rows(connection: sa.Connection) -> list[list[Any]]:
    return [
        list(connection.execute(sa.select(table).order_by(table.c.id))) for table in (tables.event, _EARLIER_ATTEMPT)
    ]


def test_an_earlier_database_keeps_every_row_and_every_id(earlier: sa.Engine) -> None:
    now = datetime.now(UTC)
    times = [now - timedelta(days=500), now - timedelta(days=40), now, now + timedelta(days=40), now + timedelta(3000)]
    with earlier.begin() as connection:
        record(connection, "m", *times)
        before = read_rows(connection)
    migrate.upgrade_schema(earlier)
    earlier_rows = f"before_{partitions.month_of(now, 1):%Y_%m}"
    with earlier.begin() as connection:
        assert read_rows(connection) == before and [len(rows) for rows in before] == [5, 5]
        for table in TABLES:
            found = by_partition(connection, table)
            month = f"{table.name}_{partitions.month_of(times[3]):%Y_%m}"
            # The clock was wrong when the last two were stored.
            assert found == {f"{table.name}_{earlier_rows}": 3, month: 1, f"{table.name}_default": 1}
        assert partitions.make_months(connection, now) == []
        later = partitions.make_months(connection, now + timedelta(days=62))
        assert len(later) == 4
    with earlier.begin() as connection:
        record(connection, "n", now)
        newest = sa.select(sa.func.max(tables.attempt.c.id))
        assert connection.scalar(newest) == max(row.id for row in before[1]) + 1, "ids go on"
        # The sequence is not the first partition's: it stays when that goes.
        connection.exec_driver_sql(f"DROP TABLE attempt_{earlier_rows}")
        record(connection, "n", now + timedelta(days=40))


def test_an_earlier_table_is_not_copied(earlier: sa.Engine) -> None:
    file = sa.text("SELECT relfilenode FROM pg_class WHERE relname = :name")
    with earlier.begin() as connection:
        record(connection, "m", datetime.now(UTC))
        names = ["event", "event_pkey", "event_by_message", "event_by_type", "attempt", "attempt_by_message"]
        before = [connection.scalar(file, {"name": name}) for name in names]
    migrate.upgrade_schema(earlier)
    end = f"{partitions.month_of(datetime.now(UTC), 1):%Y_%m}"
    with earlier.begin() as connection:
        moved = [re.sub("^(event|attempt)", rf"\1_before_{end}", name) for name in names]
        assert [connection.scalar(file, {"name": name}) for name in moved] == before


def test_a_month_goes_when_nothing_of_it_is_kept(store: Store) -> None:
    months = [partitions.month_of(MARCH, later) + timedelta(days=1) for later in range(4)]
    make_months(store, MARCH)
    ended, waiting, young = (
        new_message(f"{name}@example.com", status=status, at=at)
        for name, status, at in (
            ("ended", Status.DELIVERED, months[0]),
            ("waiting", Status.DEFERRED, months[1]),
            ("young", Status.DELIVERED, months[3]),
        )
    )
    insert_messages(store, ended, waiting, young)

    def write(connection: sa.Connection) -> None:
        record(connection, ended.message.id, months[0], months[1], months[2])
        record(connection, waiting.message.id, months[1])
        record(connection, young.message.id, months[2], months[3])  # the clock was wrong when the first came

    written(store, write)
    assert drop_months(store, months[3]) == ["event_2031_03", "attempt_2031_03"]
    with store.connect() as connection:
        assert by_partition(connection, tables.event) == {"event_2031_04": 3, "event_2031_05": 2, "event_2031_06": 2}
    # The delivery is settled, and the young message has expired as well.
    written(store, lambda connection: connection.execute(sa.update(tables.delivery).values(next_attempt_at=None)))
    after = months[3] + timedelta(days=60)
    assert drop_months(store, after) == [f"{table.name}_2031_{month:02}" for table in TABLES for month in (4, 5, 6)]


def test_the_server_drops_expired_months_and_says_so(url: str, tmp_path: Path) -> None:
    """Its hourly run makes the months that come, drops what has expired, and deletes rows of a month that has not."""
    store = Store(url, tmp_path / "store")
    now = datetime.now(UTC)
    old, younger = now - timedelta(days=500), partitions.month_of(now - timedelta(days=400))
    some = [new_message("ann@example.com", status=Status.DELIVERED, at=at) for at in (old, younger, now)]
    for at in (old, younger):
        make_months(store, at)
    insert_messages(store, *some)
    written(store, lambda connection: record(connection, some[0].message.id, old, old, old))
    written(store, lambda connection: record(connection, some[1].message.id, younger, now))
    written(store, lambda connection: record(connection, some[2].message.id, now))
    store.change_tables(lambda connection: connection.exec_driver_sql("ANALYZE"))
    store.close()
    waypost = Waypost(tmp_path / "node", tables=f'[database]\nurl = "{url}"\n')
    waypost.start("--new-keys")  # the mail is of another node
    try:
        waypost.wait_for_log("partition-dropped ")
        older = "SELECT 1 FROM message WHERE id < :kept"
        until(lambda: not waypost.sql(older, kept=some[2].message.id), waypost.read_log)
        found = re.findall(r"partition-dropped name=(\w+) rows=(\d+)", waypost.read_log())
        assert (f"event_{old:%Y_%m}", "4") in found and (f"attempt_{old:%Y_%m}", "3") in found
        assert not {f"event_{younger:%Y_%m}", f"event_{now:%Y_%m}"} & {name for name, _ in found}
        assert waypost.sql("SELECT DISTINCT message FROM event") == [(some[2].message.id,)]
        assert [row["id"] for row in waypost.rows("messages")] == [some[2].message.id]
    finally:
        waypost.stop()


def test_months_are_made_at_the_start(url: str, tmp_path: Path) -> None:
    with Waypost(tmp_path / "node", tables=f'[database]\nurl = "{url}"\n') as waypost:
        pass
    coming = f"event_{partitions.month_of(datetime.now(UTC), partitions.MONTHS_AHEAD):%Y_%m}"
    waypost.sql(f"DROP TABLE {coming}")
    with waypost:
        assert f"partition-made name={coming}\n" in waypost.read_log()  # before it was ready


@contextmanager
def explained(connection: sa.Connection) -> Iterator[list[str]]:
    """The plans of what is read meanwhile."""
    plans: list[str] = []

    def note(_c: object, _cursor: object, statement: str, parameters: Any, _context: object, _many: bool) -> None:
        if statement.startswith("SELECT"):
            plans.append("\n".join(connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars()))

    sa.event.listen(connection, "before_cursor_execute", note)
    yield plans
    sa.event.remove(connection, "before_cursor_execute", note)


def partitions_read(plans: Sequence[str]) -> set[str]:
    return set(re.findall(r"\b(?:event|attempt)_(?:\d{4}_\d\d|default)\b(?!_)", "\n".join(plans)))


def test_a_page_of_some_days_reads_their_month_only(store: Store) -> None:
    make_months(store, MARCH)
    written(store, lambda connection: record(connection, "m", *(MARCH + timedelta(days=n) for n in range(100))))
    since, until = MARCH + timedelta(days=30), MARCH + timedelta(days=40)
    with store.connect() as connection, explained(connection) as plans:
        page = event_list.list_events(connection, EventSearch(since=since, until=until), 50)
    assert len(page.rows) == 10 and partitions_read(plans) == {"event_2031_04"}
    with store.connect() as connection, explained(connection) as plans:
        events.find_recorded(connection, [new_id(MARCH)])
    assert partitions_read(plans) == {"event_2031_03"}
