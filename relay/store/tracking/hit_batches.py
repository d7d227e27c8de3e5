"""Opens and clicks of many deliveries, recorded together: a statement for each table, where one hit takes eight.

In: hits, as the web process has judged them.  Out: the same rows and counts as `hits.record_hit` makes of each.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from relay import address, hit_verdict, tokens
from relay.attribution import rules
from relay.event_type import EventType
from relay.store import events
from relay.store.database import bulk_statement, columns, delivery_rows, tables
from relay.store.database.roll_ups import StreamAndTags
from relay.store.recipients import consent
from relay.store.tracking import hits, verdicts
from relay.store.tracking.hit_facts import Hit

_MAX_TOGETHER = 250  # in a statement: SQLite's oldest limit on variables is 999, and a delivery takes three
_HARMLESS = (hit_verdict.HUMAN, hit_verdict.PROXIED, hit_verdict.UNKNOWN)
_Key = tuple[str, int]  # message and number


def record_hits(connection: sa.Connection, batch: Sequence[Hit]) -> None:
    """Records hits in their order; those that are recorded already change nothing. Raises UnknownDeliveryError if one
    of the deliveries is not in the database yet: then each is to be recorded by itself."""
    for is_common, group in groupby(batch, key=_is_common):
        together = list(group)
        if is_common:
            for at in range(0, len(together), _MAX_TOGETHER):
                _record_together(connection, together[at : at + _MAX_TOGETHER])
        else:
            for hit in together:
                hits.record_hit(connection, hit)


def _is_common(hit: Hit) -> bool:
    """True for an open or a click of a recipient."""
    has_delivery = hit.number not in (None, tokens.STANDALONE_PIXEL) and not hit.for_message_only
    return hit.type in verdicts.HIT_TYPES and has_delivery


def _record_together(connection: sa.Connection, batch: Sequence[Hit]) -> None:
    known = events.find_recorded(connection, [hit.id for hit in batch])
    new = list({hit.id: hit for hit in batch if hit.id not in known}.values())
    found = _find_deliveries(connection, {_key(hit) for hit in new})
    for hit in new:
        if _key(hit) not in found:
            delivery_rows.raise_if_recent(hit.message, hit.at)
    new = [hit for hit in new if _key(hit) in found]
    untracked = consent.find_untracked(connection, {row.recipient for row in found.values()})
    new = [hit for hit in new if address.canonical(found[_key(hit)].recipient) not in untracked]
    by_delivery: dict[_Key, list[Hit]] = {}
    for hit in new:
        by_delivery.setdefault(_key(hit), []).append(hit)
    _move_counters(connection, by_delivery)
    groups = {message: StreamAndTags(row.stream, row.tags) for (message, _), row in found.items()}
    firsts = {hit.id for key, of_one in by_delivery.items() for hit in _first_hits(found[key], of_one)}
    rows = [hits.event_of(connection, hit, found[_key(hit)].recipient, is_first=hit.id in firsts) for hit in new]
    events.append_events(connection, rows, groups)
    may_stay = {key for key, of_one in by_delivery.items() if _are_plain_opens(found[key], of_one)}
    earliest = _find_earliest(connection, may_stay)
    # Measured from the delivery: a later open changes no verdict if no link was followed (`delivery_verdict`).
    timing = rules.load().timing
    early = timedelta(seconds=max(timing.too_soon_open_s, timing.too_soon_click_s))
    for key in by_delivery:
        settled_at = found[key].settled_at
        if key not in may_stay or (settled_at is not None and earliest[key] <= settled_at + early):
            verdicts.hit_added(connection, *key)


def _key(hit: Hit) -> _Key:
    assert hit.number is not None
    return hit.message, hit.number


def _find_deliveries(connection: sa.Connection, keys: set[_Key]) -> dict[_Key, Any]:  # Any: rows
    if not keys:
        return {}
    named = {"keys": sorted(keys), "messages": sorted({message for message, _ in keys})}
    return {(row.message, row.number): row for row in connection.execute(_FIND_DELIVERIES, named)}


def _find_earliest(connection: sa.Connection, keys: set[_Key]) -> dict[_Key, datetime]:
    """The time of the first hit of each delivery."""
    if not keys:
        return {}
    named = {"keys": sorted(keys), "messages": sorted({message for message, _ in keys})}
    return {(message, number): at for message, number, at in connection.execute(_FIND_EARLIEST, named)}


def _first_hits(row: Any, new_hits: Sequence[Hit]) -> list[Hit]:  # Any: a row
    """Those of a delivery's new hits that are its first open by a person, and its first click."""
    found = []
    for type_, count in (
        (EventType.OPENED, row.opens_human + row.opens_proxied),
        (EventType.CLICKED, row.clicks_human),
    ):
        by_people = (hit for hit in new_hits if hit.type is type_ and hit.verdict in hit_verdict.PERSON_VERDICTS)
        if not count and (first := next(by_people, None)):
            found.append(first)
    return found


def _are_plain_opens(row: Any, new_hits: Sequence[Hit]) -> bool:  # Any: a row
    """Whether nothing but opens of people has come for the delivery, so that only early ones have to be judged beside
    each other: the other rules are about clicks, observations and machines."""
    has_others = row.observations or row.opens_machine or any(row[at] for at in _CLICK_COLUMNS)
    return not has_others and all(hit.type is EventType.OPENED and hit.verdict in _HARMLESS for hit in new_hits)


def _move_counters(connection: sa.Connection, by_delivery: dict[_Key, list[Hit]]) -> None:
    """In the order of the keys: of two processes that do so none waits for the other."""
    changes = []
    for (message, number), some in sorted(by_delivery.items()):
        change: dict[str, Any] = {"of_message": message, "of_number": number} | dict.fromkeys(_COUNTERS, 0)
        for hit in some:
            change[verdicts.COUNTERS[hit.type, hit.verdict]] += 1
        changes.append(change)
    _ADD_TO_COUNTERS.run(connection, changes)


_COUNTERS = tuple(verdicts.COUNTERS.values())
_ADD_TO_COUNTERS = bulk_statement.add_to(tables.delivery, "message", "number")


def _is_one_of(table: sa.Table) -> sa.ColumnElement[bool]:
    # With the pairs alone SQLite looks at all rows: it takes an index for values, not for rows of them.
    return sa.and_(
        table.c.message.in_(sa.bindparam("messages", expanding=True)),
        sa.tuple_(table.c.message, table.c.number).in_(sa.bindparam("keys", expanding=True)),
    )


_DELIVERY_COLUMNS = ("message", "number", "recipient", "settled_at", "observations", *_COUNTERS)
_CLICK_COLUMNS = [n for n, name in enumerate(_DELIVERY_COLUMNS) if name.startswith("clicks_")]
_FIND_DELIVERIES = (
    sa.select(*(tables.delivery.c[name] for name in _DELIVERY_COLUMNS), tables.message.c.stream, tables.message.c.tags)
    .join(tables.message, tables.message.c.id == tables.delivery.c.message)
    .where(_is_one_of(tables.delivery))
)
_FIND_EARLIEST = (
    sa.select(tables.event.c.message, tables.event.c.number, sa.func.min(tables.event.c.at, type_=columns.UtcTime))
    .where(_is_one_of(tables.event), tables.event.c.type.in_(verdicts.HIT_TYPES))
    .group_by(tables.event.c.message, tables.event.c.number)
)
