"""Who attempts what: deliveries that are due are leased, and come back when their holder is gone.

In: the clock, a worker's name, how much room it has.  Out: leased deliveries, by message. Streams take turns, and in
a stream the oldest and the newest of what is due do, so that a large mailing holds nobody up. What was under way each
time a process died is tried alone at last, and then parked: it waits for an operator, or for its time to be over.
"""

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa

from relay.store.database import tables
from relay.store.database.tables import Delivery

T = TypeVar("T")
MOST_CRASHES = 3
_SUSPECT = MOST_CRASHES - 1  # crashes after which it is tried with no other suspect beside it
_DEPTH = 200  # of the oldest are looked at, over all streams: one message may have them all


class Spot(NamedTuple):
    """A delivery in the queue."""

    message: str
    number: int


class Clock(NamedTuple):
    """What time it is, and what is enough for a lease to have lapsed: less, after the clock was set."""

    now: datetime
    lapsed: datetime


def lease(
    connection: sa.Connection,
    clock: Clock,
    until: datetime,
    worker: str,
    limit: int,
    *,
    stream_limit: int | None = None,
    held: Mapping[str, int] | None = None,
    with_suspect: bool = True,
    newest_first: bool = False,
) -> dict[str, list[Delivery]]:
    """What is due, by message id, leased to `worker` until `until`. A lapsed lease counts as due.

    `limit` deliveries in all, and of each stream as many as make `stream_limit` with those `held` of it. Where there is
    room for one at a time, the stream that holds least has it, and `newest_first` is to be set every other time.
    """
    held = held or {}
    room = limit if stream_limit is None else stream_limit
    streams = sorted(_streams(connection, clock), key=lambda stream: held.get(stream, 0))
    share = 2 * -(-limit // max(1, len(streams)))  # what others leave is for the next time
    depth = max(2 * share, _DEPTH // max(1, len(streams)))
    queues = [
        itertools.islice(
            _turns(connection, clock, stream, share, depth, newest_first), max(0, room - held.get(stream, 0))
        )
        for stream in streams
    ]
    chosen = _suspect(connection, clock) if with_suspect else []
    chosen += itertools.islice(_in_turns(queues), limit - len(chosen))
    return _lease(connection, chosen, until, worker)


def lease_expired(
    connection: sa.Connection, clock: Clock, until: datetime, worker: str, limit: int
) -> dict[str, list[Delivery]]:
    """The same for what is past its time, whatever its turn, also where it is parked."""
    over = [Spot(*row) for row in connection.execute(_expired(clock).limit(limit))]
    return _lease(connection, over, until, worker)


def is_expired(connection: sa.Connection, clock: Clock) -> bool:
    """True if something waits past its time that nobody holds."""
    return connection.execute(_expired(clock).limit(1)).first() is not None


def _expired(clock: Clock) -> sa.Select[Any]:  # Any: columns of a table that is no class
    table, message = tables.delivery, tables.message
    is_over = sa.exists().where(message.c.id == table.c.message, message.c.expires_at <= clock.now)
    return (
        sa.select(table.c.message, table.c.number)
        # What ends its process even then stays: once more would be for ever.
        .where(_free(table, clock), table.c.crashes <= MOST_CRASHES, is_over)
        .order_by(table.c.next_attempt_at)
        .with_for_update(skip_locked=True, of=table)
    )


def _lease(connection: sa.Connection, chosen: list[Spot], until: datetime, worker: str) -> dict[str, list[Delivery]]:
    found: dict[str, list[Delivery]] = {}
    table = tables.delivery
    for message, spots in itertools.groupby(sorted(chosen), key=lambda spot: spot.message):
        those = (table.c.message == message, table.c.number.in_([spot.number for spot in spots]))
        connection.execute(sa.update(table).where(*those).values(leased_by=worker, leased_until=until))
        rows = connection.execute(sa.select(table).where(*those).order_by(table.c.number)).mappings()
        found[message] = [Delivery(**row) for row in rows]
    return found


def is_due(connection: sa.Connection, clock: Clock) -> bool:
    """True if a delivery is due that nobody holds."""
    return bool(_streams(connection, clock) or _suspect(connection, clock))


def shift(connection: sa.Connection, step: timedelta) -> None:
    """Moves all due times by that, where the clock was set back: they would lie too far ahead."""
    table = tables.delivery
    rows = connection.execute(
        sa.select(table.c.message, table.c.number, table.c.next_attempt_at).where(table.c.next_attempt_at.is_not(None))
    )
    moved = [{"of": row.message, "nth": row.number, "at": row.next_attempt_at + step} for row in rows]
    if moved:
        one = sa.update(table).where(table.c.message == sa.bindparam("of"), table.c.number == sa.bindparam("nth"))
        connection.execute(one.values(next_attempt_at=sa.bindparam("at")), moved)


def renew(connection: sa.Connection, worker: str, messages: Collection[str], until: datetime) -> None:
    """Holds what the worker has of those messages for longer."""
    table = tables.delivery
    mine = (table.c.message.in_(sorted(messages)), table.c.leased_by == worker)
    connection.execute(sa.update(table).where(*mine).values(leased_until=until))


def shorten(connection: sa.Connection, worker: str, spots: Collection[Spot], until: datetime) -> None:
    """Has the worker's leases on these end sooner."""
    table = tables.delivery
    for spot in spots:
        mine = (table.c.message == spot.message, table.c.number == spot.number, table.c.leased_by == worker)
        connection.execute(sa.update(table).where(*mine).values(leased_until=until))


def park(connection: sa.Connection, spot: Spot) -> None:
    """Nobody tries it again before an operator says so."""
    table = tables.delivery
    this = (table.c.message == spot.message, table.c.number == spot.number, table.c.next_attempt_at.is_not(None))
    connection.execute(sa.update(table).where(*this).values(crashes=MOST_CRASHES, leased_by="", leased_until=None))


def find_lost(connection: sa.Connection, worker: str, spots: Collection[Spot]) -> set[Spot]:
    """Which of these the worker does not hold: another one has taken them over, or has settled them.

    What is not in the database is nobody else's either.
    """
    table = tables.delivery
    messages, numbers = {spot.message for spot in spots}, {spot.number for spot in spots}
    rows = connection.execute(
        sa.select(table.c.message, table.c.number).where(
            table.c.message.in_(sorted(messages)), table.c.number.in_(sorted(numbers)), table.c.leased_by != worker
        )
    )
    return {Spot(*row) for row in rows}.intersection(spots)


def release(connection: sa.Connection, worker: str | None = None) -> None:
    """Gives back the leases of a worker that has stopped; of all, where none can be running."""
    connection.execute(sa.update(tables.delivery).where(*_held(worker)).values(leased_by="", leased_until=None))


def bury(connection: sa.Connection, worker: str) -> list[Spot]:
    """Gives back the leases of a worker that died, which counts against them. Returns what is parked from now on."""
    table = tables.delivery
    spots = (table.c.message, table.c.number)
    parked = connection.execute(sa.select(*spots).where(*_held(worker), table.c.crashes == _SUSPECT))
    ended = [Spot(*row) for row in parked]
    connection.execute(sa.update(table).where(*_held(worker)).values(crashes=table.c.crashes + 1))
    release(connection, worker)
    return ended


def _held(worker: str | None) -> tuple[sa.ColumnElement[bool], ...]:
    table = tables.delivery
    whose = table.c.leased_by != "" if worker is None else table.c.leased_by.startswith(worker, autoescape=True)
    return table.c.next_attempt_at.is_not(None), whose  # the first for the index: nothing else is ever leased


def _free(table: Any, clock: Clock) -> sa.ColumnElement[bool]:  # Any: the table or an alias of it
    return sa.and_(
        table.c.next_attempt_at <= clock.now,
        sa.or_(table.c.leased_until.is_(None), table.c.leased_until < clock.lapsed),
    )


def _streams(connection: sa.Connection, clock: Clock) -> list[str]:
    """The streams of which something is due, the one that waits longest first.

    From name to name along the index, then one look at each: a million deliveries cost no more than ten.
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
        due.c.stream == names.c.stream, _free(due, clock), due.c.crashes < _SUSPECT
    )
    heads = sa.select(
        names.c.stream, oldest.order_by(due.c.next_attempt_at).limit(1).scalar_subquery().label("since")
    ).subquery()
    found = connection.execute(sa.select(heads.c.stream).where(heads.c.since.is_not(None)).order_by(heads.c.since))
    return list(found.scalars())


def _turns(
    connection: sa.Connection, clock: Clock, stream: str, share: int, depth: int, newest_first: bool
) -> Iterator[Spot]:
    """A stream's due deliveries: by turns the oldest, of each message in turn, and the newest. Lazy."""
    table = tables.delivery
    due = (
        sa.select(table.c.message, table.c.number)
        .where(table.c.stream == stream, _free(table, clock), table.c.crashes < _SUSPECT)
        .with_for_update(skip_locked=True)  # has no effect on SQLite, whose writer is alone
    )
    oldest = [Spot(*row) for row in connection.execute(due.order_by(table.c.next_attempt_at).limit(depth))]
    newest = [Spot(*row) for row in connection.execute(due.order_by(table.c.next_attempt_at.desc()).limit(share))]
    by_message: dict[str, list[Spot]] = {}
    for spot in oldest:
        by_message.setdefault(spot.message, []).append(spot)
    ends: list[Iterable[Spot]] = [_in_turns(by_message.values()), newest]
    yield from itertools.islice(dict.fromkeys(_in_turns(reversed(ends) if newest_first else ends)), share)


def _suspect(connection: sa.Connection, clock: Clock) -> list[Spot]:
    table = tables.delivery
    due = (
        sa.select(table.c.message, table.c.number)
        .where(tables.has_crashed, table.c.crashes == _SUSPECT, _free(table, clock))
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return [Spot(*row) for row in connection.execute(due)]


def _in_turns(queues: Iterable[Iterable[T]]) -> Iterator[T]:
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
