"""Roll-ups are moved in the commit of the fact that moves them.

In: what happened, as keys of roll-ups.  Out: rows of `roll_up_change`, one for each key in a commit, which `fold`
moves into `roll_up`. Both together are the counts, at any time.
"""

import contextlib
import hashlib
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from relay import address, hit_verdict, ids, redaction
from relay.event_type import EventType
from relay.store.database import bulk_statement, columns, tables
from relay.store.database.roll_up_tables import roll_up, roll_up_change

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

NOTICE_STREAM = "notice"  # of the DSNs that we send ourselves: they are no mail of the apps
HOUR, DAY = "hour", "day"
ALL, TAG, DOMAIN, LINK = DIMENSIONS = ("", "tag", "domain", "link")
_HOUR_MS = 3_600_000
DAY_US = 86_400_000_000
MAX_LINK_NAME = 500  # characters
IMPLIED_VERDICT = hit_verdict.HUMAN  # a person's click where no open was seen stands for one
_ADVISORY_LOCK = 0x57415953  # "WAYS": PostgreSQL's; SQLite's writer is alone
_GATHERED = "roll-up changes"
_WITH_CATEGORY = (EventType.DEFERRED, EventType.BOUNCED, EventType.EXPIRED, EventType.SUPPRESSED)
_MAX_REMEMBERED = 10_000  # messages
_HITS = (EventType.OPENED, EventType.CLICKED)


class RollUpKey(NamedTuple):
    """An hour's row of a roll-up."""

    dimension: str
    start: datetime
    stream: str
    value: str
    type: str
    detail: str


_key = partial(tuple.__new__, RollUpKey)  # half the time that RollUpKey(…) takes


class StreamAndTags(NamedTuple):
    """By what a message's events are counted."""

    stream: str
    tags: Sequence[str]


_remembered: dict[str, StreamAndTags] = {}
_remembered_lock = threading.Lock()
_Changes = dict[RollUpKey, tuple[int, int]]


@contextlib.contextmanager
def gather_counts(connection: sa.Connection) -> Iterator[None]:
    """Counts of the block are inserted together at its end, or not at all if it raises."""
    outer: _Changes | None = connection.info.get(_GATHERED)
    mine: _Changes = {}
    connection.info[_GATHERED] = mine
    try:
        yield
    finally:
        connection.info[_GATHERED] = outer
    if outer is None:
        _insert(connection, mine)
    else:
        for key, (count, uniques) in mine.items():
            _add(outer, key, count, uniques)


def hour_of(event_id: str, at: datetime) -> datetime:
    """The hour that an event is counted in: that of its id, which is when we learned of it. So the events of an hour
    are a range of ids. `at` is for an id that is none of ours."""
    try:
        return _hour(ids.milliseconds_of(event_id) // _HOUR_MS)
    except ValueError:
        return at.replace(minute=0, second=0, microsecond=0)


@lru_cache(maxsize=1024)
def _hour(number: int) -> datetime:
    """The hour of that number since 1970."""
    return datetime.fromtimestamp(number * 3600, UTC)


def count_events(
    connection: sa.Connection,
    rows: Sequence[Mapping[Any, Any]],  # Any: as below
    groups: Mapping[str, StreamAndTags],
) -> None:
    """Counts new events, each by the groups of its message; those of a message without groups are not counted."""
    gathering: _Changes | None = connection.info.get(_GATHERED)
    changes = {} if gathering is None else gathering
    for row in rows:
        if found := groups.get(row["message"]):
            for key, is_unique in event_keys(hour_of(row["id"], row["at"]), row, found):
                _add(changes, key, 1, int(is_unique))
    if gathering is None:
        _insert(connection, changes)


def count_event(
    connection: sa.Connection,
    row: Mapping[Any, Any],  # Any: an event's columns
    groups: StreamAndTags,
    by: int = 1,
) -> None:
    """Counts an event in all its rows; with `by` -1, no longer."""
    gathering: _Changes | None = connection.info.get(_GATHERED)
    changes = {} if gathering is None else gathering
    for key, is_unique in event_keys(hour_of(row["id"], row["at"]), row, groups):
        _add(changes, key, by, by * is_unique)
    if gathering is None:
        _insert(connection, changes)


def event_keys(
    hour: datetime,
    row: Mapping[Any, Any],  # Any: as above
    groups: StreamAndTags,
) -> list[tuple[RollUpKey, bool]]:
    """The rows that an event is counted in, each with whether it is one of their uniques. Of a recipient that is not
    stored as an address no domain is counted."""
    type_, domain = row["type"], address.domain(row["recipient"])
    is_first = row["first_click" if type_ == EventType.CLICKED else "first_open"]
    kinds = [(type_, _detail(type_, row["verdict"], row["reasons"]), is_first)]
    if row["implies_open"]:
        kinds.append((EventType.OPENED.value, IMPLIED_VERDICT, row["first_open"]))
    stream = groups.stream
    values = [(ALL, stream, "")]
    if groups.tags:
        values += [(TAG, stream, tag) for tag in groups.tags]
    if domain:  # not by stream as well: there may be many of both
        values.append((DOMAIN, stream if stream == NOTICE_STREAM else "", domain))
    keys = [
        (_key((dimension, hour, of_stream, value, kind, detail)), is_unique)
        for dimension, of_stream, value in values
        for kind, detail, is_unique in kinds
    ]
    if type_ == EventType.CLICKED and row["url"]:
        key = RollUpKey(LINK, hour, stream, link_name(row["url"]), type_, row["verdict"])
        keys.append((key, row["first_of_link"]))
    return keys


@lru_cache(maxsize=4096)
def link_name(url: str) -> str:
    """The value by which clicks on a URL are counted: without addresses, since counts stay when a recipient is erased;
    of a long one its beginning and a digest (PostgreSQL's keys have at most 2,700 octets)."""
    name = redaction.redact_addresses(url)
    if len(name) <= MAX_LINK_NAME:
        return name
    return name[:MAX_LINK_NAME] + "… " + hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:12]


def _detail(type_: str, verdict: str, reasons: Sequence[str]) -> str:
    """The detail by which events of a type are counted: the verdict of a hit, the category of a failure."""
    if type_ in _HITS:
        return verdict
    return reasons[0] if reasons and type_ in _WITH_CATEGORY else ""


def remember_streams_and_tags(groups: Mapping[str, StreamAndTags]) -> None:
    """Mail that was just accepted is about to be delivered: nothing is read for that again. They do not change."""
    with _remembered_lock:
        _remembered.update(groups)
        while len(_remembered) > _MAX_REMEMBERED:
            del _remembered[next(iter(_remembered))]


def find_streams_and_tags(connection: sa.Connection, messages: Collection[str]) -> dict[str, StreamAndTags]:
    """The groups of messages by id; those that are not there are missing."""
    found = {message: groups for message in messages if (groups := _remembered.get(message))}
    if len(found) < len(messages):
        rows = connection.execute(
            _FIND_STREAMS_AND_TAGS, {"ids": [message for message in messages if message not in found]}
        )
        found |= {row.id: StreamAndTags(row.stream, row.tags) for row in rows}
    return found


def has_changes(connection: sa.Connection) -> bool:
    return connection.execute(sa.select(roll_up_change.c.id).limit(1)).first() is not None


def fold(connection: sa.Connection) -> int:
    """Moves the changes of past commits into the roll-ups. Returns how many; 0 where another process does that now."""
    if not lock(connection):
        return 0
    names = RollUpKey._fields
    if connection.dialect.name == "postgresql":
        # Deleted and counted in one statement: a change that is committed meanwhile is in neither.
        source = sa.delete(roll_up_change).returning(*roll_up_change.c).cte("folded")
        return connection.execute(_add_to_roll_ups(connection, source.c, names)).rowcount
    folded = connection.execute(_add_to_roll_ups(connection, roll_up_change.c, names)).rowcount
    connection.execute(sa.delete(roll_up_change))
    return folded


def lock(connection: sa.Connection) -> bool:
    """True if no other process folds or rebuilds until this transaction ends."""
    if connection.dialect.name != "postgresql":
        return True
    return bool(connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_ADVISORY_LOCK))))


def _add_to_roll_ups(
    connection: sa.Connection,
    changes: Any,  # Any: columns of a table or a CTE
    names: Sequence[str],
) -> "postgresql.Insert | sqlite.Insert":
    starts = {HOUR: changes["start"], DAY: truncate(changes["start"], DAY_US)}
    selects = []
    for period, start in starts.items():
        by = [start if name == "start" else changes[name] for name in names]
        sums = [sa.func.sum(changes[name]).label(name) for name in ("count", "uniques")]
        selects.append(sa.select(sa.literal_column(f"'{period}'").label("period"), *by, *sums).group_by(*by))
    # Without "WHERE true" SQLite takes ON for a join's.
    rows = sa.union_all(*selects).subquery()
    insert = columns.insert_into(connection, roll_up)
    insert = insert.from_select(["period", *names, "count", "uniques"], sa.select(rows).where(sa.true()))
    return insert.on_conflict_do_update(
        index_elements=list(roll_up.primary_key),
        set_={name: roll_up.c[name] + insert.excluded[name] for name in ("count", "uniques")},
    )


def truncate(at: sa.ColumnElement[Any], step_us: int) -> sa.ColumnElement[Any]:  # Any: a time, or its number
    """The start of the hour or the day of a time."""
    number = sa.type_coerce(at, sa.BigInteger)
    # A literal: PostgreSQL does not see that two parameters are the same expression in SELECT and GROUP BY.
    return sa.type_coerce(number - number % sa.literal_column(str(step_us), sa.BigInteger), columns.UtcTime)


def _add(changes: _Changes, key: RollUpKey, by: int, uniques: int) -> None:
    known = changes.get(key)
    changes[key] = (by, uniques) if known is None else (known[0] + by, known[1] + uniques)


_INSERT = bulk_statement.insert_into(roll_up_change)
_FIND_STREAMS_AND_TAGS = sa.select(tables.message.c.id, tables.message.c.stream, tables.message.c.tags).where(
    tables.message.c.id.in_(sa.bindparam("ids", expanding=True))
)


def _insert(connection: sa.Connection, changes: _Changes) -> None:
    rows = [
        key._asdict() | {"count": by, "uniques": uniques} for key, (by, uniques) in changes.items() if by or uniques
    ]
    _INSERT.run(connection, rows)
