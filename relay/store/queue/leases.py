"""Leases on due deliveries. A lease lapses if its worker is gone.

In: the clock, a worker's name, how many deliveries it can take.  Out: leased deliveries, by message. Streams take
turns, and within a stream the oldest and the newest due deliveries do, so that a large mailing delays no other mail.
A delivery that was under way each time a process died is at last tried alone, and then parked: it waits for an
operator, or until it expires.
"""

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import sqlalchemy as sa

from relay.store.database import tables

if TYPE_CHECKING:
    from relay.store.database.rows import Delivery

T = TypeVar("T")
MAX_CRASHES = 3
_SUSPECT_CRASHES = MAX_CRASHES - 1  # crashes after which it is tried with no other suspect beside it
_MAX_OLDEST = 200  # deliveries; the oldest of all streams are looked at, and one message may have them all


class DeliveryKey(NamedTuple):
    """A delivery in the queue."""

    message: str
    number: int


class LeaseClock(NamedTuple):
    """The time now, and the time before which a lease has lapsed: an earlier one, after the clock was set."""

    now: datetime
    lapsed: datetime


def lease_due(
    connection: sa.Connection,
    clock: LeaseClock,
    until: datetime,
    worker: str,
    limit: int,
    *,
    stream_limit: int | None = None,
    held_by_stream: Mapping[str, int] | None = None,
    with_suspect: bool = True,
    newest_first: bool = False,
) -> dict[str, "list[Delivery]"]:
    """What is due, by message id, leased to `worker` until `until`. A lapsed lease counts as due.

    At most `limit` deliveries in all, and of each stream at most `stream_limit` together with its `held_by_stream`.
    Where there is room for one at a time, the stream that holds least has it; the caller then sets `newest_first`
    every other time.
    """
    held_by_stream = held_by_stream or {}
    room = limit if stream_limit is None else stream_limit
    streams = sorted(_due_streams(connection, clock), key=lambda stream: held_by_stream.get(stream, 0))
    share = 2 * -(-limit // max(1, len(streams)))  # what others leave is for the next time
    depth = max(2 * share, _MAX_OLDEST // max(1, len(streams)))
    queues = [
        itertools.islice(
            _select_in_turn(connection, clock, stream, share, depth, newest_first),
            max(0, room - held_by_stream.get(stream, 0)),
        )
        for stream in streams
    ]
    chosen = _crash_suspect(connection, clock) if with_suspect else []
    chosen += itertools.islice(_round_robin(queues), limit - len(chosen))
    return _mark_leased(connection, chosen, until, worker)


def lease_expired(
    connection: sa.Connection, clock: LeaseClock, until: datetime, worker: str, limit: int
) -> dict[str, "list[Delivery]"]:
    """The same for deliveries that have expired, without turns, also if they are parked."""
    over = [DeliveryKey(*row) for row in connection.execute(_select_expired(clock).limit(limit))]
    return _mark_leased(connection, over, until, worker)


def has_expired(connection: sa.Connection, clock: LeaseClock) -> bool:
    """True if a delivery has expired that no worker holds."""
    return connection.execute(_select_expired(clock).limit(1)).first() is not None


def _select_expired(clock: LeaseClock) -> sa.Select[Any]:  # Any: columns of a table that is no class
    table, message = tables.delivery, tables.message
    is_over = sa.exists().where(message.c.id == table.c.message, message.c.expires_at <= clock.now)
    return (
        sa.select(table.c.message, table.c.number)
        # A delivery that crashes its process even while it expires is not leased again: the loop would be endless.
        .where(_is_free(table, clock), table.c.crashes <= MAX_CRASHES, is_over)
        .order_by(table.c.next_attempt_at)
        .with_for_update(skip_locked=True, of=table)
    )


def _mark_leased(
    connection: sa.Connection, chosen: list[DeliveryKey], until: datetime, worker: str
) -> dict[str, "list[Delivery]"]:
    from relay.store.database.rows import Delivery  # with SQLModel, which a list of the queue does not need

    found: dict[str, list[Delivery]] = {}
    table = tables.delivery
    for message, keys in itertools.groupby(sorted(chosen), key=lambda key: key.message):
        those = (table.c.message == message, table.c.number.in_([key.number for key in keys]))
        connection.execute(sa.update(table).where(*those).values(leased_by=worker, leased_until=until))
        rows = connection.execute(sa.select(table).where(*those).order_by(table.c.number)).mappings()
        found[message] = [Delivery(**row) for row in rows]
    return found


def has_due(connection: sa.Connection, clock: LeaseClock) -> bool:
    """True if a delivery is due that nobody holds."""
    return bool(_due_streams(connection, clock) or _crash_suspect(connection, clock))


def has_waiting(connection: sa.Connection) -> bool:
    """True if a delivery waits for its time, or is leased."""
    waits = sa.select(tables.delivery.c.message).where(tables.delivery.c.next_attempt_at.is_not(None)).limit(1)
    return connection.execute(waits).first() is not None


def shift_due_times(connection: sa.Connection, step: timedelta) -> None:
    """Moves all due times by `step`: after the clock was set back they would be too far ahead."""
    table = tables.delivery
    rows = connection.execute(
        sa.select(table.c.message, table.c.number, table.c.next_attempt_at).where(table.c.next_attempt_at.is_not(None))
    )
    moved = [{"of": row.message, "nth": row.number, "at": row.next_attempt_at + step} for row in rows]
    if moved:
        one = sa.update(table).where(table.c.message == sa.bindparam("of"), table.c.number == sa.bindparam("nth"))
        connection.execute(one.values(next_attempt_at=sa.bindparam("at")), moved)


def renew_leases(connection: sa.Connection, worker: str, messages: Collection[str], until: datetime) -> None:
    """Extends the worker's leases on those messages."""
    table = tables.delivery
    mine = (table.c.message.in_(sorted(messages)), table.c.leased_by == worker)
    connection.execute(sa.update(table).where(*mine).values(leased_until=until))


def shorten_leases(connection: sa.Connection, worker: str, keys: Collection[DeliveryKey], until: datetime) -> None:
    """Has the worker's leases on these end sooner."""
    table = tables.delivery
    for key in keys:
        mine = (table.c.message == key.message, table.c.number == key.number, table.c.leased_by == worker)
        connection.execute(sa.update(table).where(*mine).values(leased_until=until))


def park_delivery(connection: sa.Connection, key: DeliveryKey) -> None:
    """Parks a delivery: no worker tries it again before an operator says so."""
    table = tables.delivery
    this = (table.c.message == key.message, table.c.number == key.number, table.c.next_attempt_at.is_not(None))
    connection.execute(sa.update(table).where(*this).values(crashes=MAX_CRASHES, leased_by="", leased_until=None))


def find_lost_leases(connection: sa.Connection, worker: str, keys: Collection[DeliveryKey]) -> set[DeliveryKey]:
    """Returns those of the deliveries that the worker does not hold: another one has leased or settled them.

    A delivery that is not in the database is held by no other worker.
    """
    table = tables.delivery
    messages, numbers = {key.message for key in keys}, {key.number for key in keys}
    rows = connection.execute(
        sa.select(table.c.message, table.c.number).where(
            table.c.message.in_(sorted(messages)), table.c.number.in_(sorted(numbers)), table.c.leased_by != worker
        )
    )
    return {DeliveryKey(*row) for row in rows}.intersection(keys)


def release_leases(connection: sa.Connection, worker: str | None = None) -> None:
    """Ends the leases of a worker that has stopped; None: of all workers, when none can be running."""
    connection.execute(sa.update(tables.delivery).where(*_leased_by(worker)).values(leased_by="", leased_until=None))


def release_after_crash(connection: sa.Connection, worker: str) -> list[DeliveryKey]:
    """Ends the leases of a worker that died, and counts a crash for each. Returns deliveries that are parked now."""
    table = tables.delivery
    keys = (table.c.message, table.c.number)
    parked = connection.execute(sa.select(*keys).where(*_leased_by(worker), table.c.crashes == _SUSPECT_CRASHES))
    ended = [DeliveryKey(*row) for row in parked]
    connection.execute(sa.update(table).where(*_leased_by(worker)).values(crashes=table.c.crashes + 1))
    release_leases(connection, worker)
    return ended


def _leased_by(worker: str | None) -> tuple[sa.ColumnElement[bool], ...]:
    table = tables.delivery
    whose = table.c.leased_by != "" if worker is None else table.c.leased_by.startswith(worker, autoescape=True)
    return table.c.next_attempt_at.is_not(None), whose  # the first for the index: nothing else is ever leased


def _is_free(table: Any, clock: LeaseClock) -> sa.ColumnElement[bool]:  # Any: the table or an alias of it
    return sa.and_(
        table.c.next_attempt_at <= clock.now,
        sa.or_(table.c.leased_until.is_(None), table.c.leased_until < clock.lapsed),
    )


def _due_streams(connection: sa.Connection, clock: LeaseClock) -> list[str]:
    """The streams that have due deliveries, the one that waits longest first.

    A recursive query skips along the index from stream to stream, then looks up the oldest delivery of each. The cost
    depends on the number of streams, not of deliveries.
    """
    table, other, due = tables.delivery, tables.delivery.alias("other"), tables.delivery.alias("due")
    names = (
        sa.select(sa.func.min(table.c.stream).label("stream"))
        .where(table.c.next_attempt_at.is_not(None))
        .cte("names", recursive=True)
    )
    later = sa.select(other.c.stream).where(other.c.next_attempt_at.is_not(None), other.c.stream > names.c.stream)
    names = names.union_all(
        sa.select(later.order_by(other.c.stream).limit(1).scalar_subquery()).where(names.c.stream.is_not(None))
    )
    oldest = sa.select(due.c.next_attempt_at).where(
        due.c.stream == names.c.stream, _is_free(due, clock), due.c.crashes < _SUSPECT_CRASHES
    )
    heads = sa.select(
        names.c.stream, oldest.order_by(due.c.next_attempt_at).limit(1).scalar_subquery().label("since")
    ).subquery()
    found = connection.execute(sa.select(heads.c.stream).where(heads.c.since.is_not(None)).order_by(heads.c.since))
    return list(found.scalars())


def _select_in_turn(
    connection: sa.Connection, clock: LeaseClock, stream: str, share: int, depth: int, newest_first: bool
) -> Iterator[DeliveryKey]:
    """A stream's due deliveries: alternately the oldest, from each message in turn, and the newest. Lazy."""
    table = tables.delivery
    due = (
        sa.select(table.c.message, table.c.number)
        .where(table.c.stream == stream, _is_free(table, clock), table.c.crashes < _SUSPECT_CRASHES)
        .with_for_update(skip_locked=True)  # has no effect on SQLite, whose writer is alone
    )
    oldest = [DeliveryKey(*row) for row in connection.execute(due.order_by(table.c.next_attempt_at).limit(depth))]
    newest = [
        DeliveryKey(*row) for row in connection.execute(due.order_by(table.c.next_attempt_at.desc()).limit(share))
    ]
    by_message: dict[str, list[DeliveryKey]] = {}
    for key in oldest:
        by_message.setdefault(key.message, []).append(key)
    ends: list[Iterable[DeliveryKey]] = [_round_robin(by_message.values()), newest]
    yield from itertools.islice(dict.fromkeys(_round_robin(reversed(ends) if newest_first else ends)), share)


def _crash_suspect(connection: sa.Connection, clock: LeaseClock) -> list[DeliveryKey]:
    table = tables.delivery
    due = (
        sa.select(table.c.message, table.c.number)
        .where(tables.has_crashed, table.c.crashes == _SUSPECT_CRASHES, _is_free(table, clock))
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return [DeliveryKey(*row) for row in connection.execute(due)]


def _round_robin(queues: Iterable[Iterable[T]]) -> Iterator[T]:
    """The first of each, the second of each, …"""
    waiting = [iter(queue) for queue in queues]
    while waiting:
        going = []
        for queue in waiting:
            for one in queue:
                yield one
                going.append(queue)
                break
        waiting = going
