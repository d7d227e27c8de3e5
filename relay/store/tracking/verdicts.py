"""The verdicts of hits, judged with all that is known of their delivery, and the counters that follow from them.

A new hit may change the verdict of earlier ones.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from relay import hit_verdict
from relay.attribution import delivery_verdict, request_verdict
from relay.attribution.request_verdict import HitVerdict
from relay.event_type import EventType
from relay.store.database import columns, delivery_rows, roll_ups, tables

IMPLIES_OPEN = "implies_open"  # the reason on a person's click where no open was seen
_MAX_HITS = 50  # hits of a delivery that a new one is judged with; more than that no person makes
MAX_HITS_RECLASSIFIED = 20_000
_MAX_OBSERVATIONS = 12
MAX_DELIVERIES_RECLASSIFIED = 200  # in a commit
_PENDING_KEY = "deliveries whose hits are to be judged"
HIT_TYPES = (EventType.OPENED, EventType.CLICKED)

# Which counter of the delivery a hit moves.
COUNTERS = {
    (type_, verdict): f"{plural}_{verdict}"
    for type_, plural, verdicts in (
        (EventType.OPENED, "opens", hit_verdict.VERDICTS),
        (EventType.CLICKED, "clicks", hit_verdict.CLICK_VERDICTS),
    )
    for verdict in verdicts
}


class DeliveryObservation(NamedTuple):
    """Something that counts nothing and tells about hits: `kind` is one of `delivery_verdict`'s."""

    at: datetime
    message: str
    number: int
    kind: str
    user_agent: str = ""
    ip: str = ""


def record_observation(connection: sa.Connection, observation: DeliveryObservation) -> None:
    """Stores an observation with its delivery, and judges the hits again. Doing so twice changes nothing."""
    delivery = _find_evidence(connection, observation.message, observation.number)
    if delivery is None:
        return
    entry = [
        columns.UtcTime().process_bind_param(observation.at, connection.dialect),
        observation.kind,
        observation.user_agent,
        observation.ip,
    ]
    observations: list[Any] = list(delivery["observations"] or [])  # Any: JSON
    if entry in observations or len(observations) >= _MAX_OBSERVATIONS:
        return
    changed = [*observations, entry]
    delivery_rows.update_delivery(connection, observation.message, observation.number, observations=changed)
    judge_hits(connection, observation.message, observation.number)


@contextlib.contextmanager
def judged_once_per_batch(connection: sa.Connection) -> Iterator[None]:
    """Meanwhile hits are only recorded; at the end they are judged, once for each delivery."""
    waiting: set[tuple[str, int]] = set()
    connection.info[_PENDING_KEY] = waiting
    try:
        yield
    finally:
        del connection.info[_PENDING_KEY]
    for message, number in sorted(waiting):
        judge_hits(connection, message, number)


def hit_added(connection: sa.Connection, message: str, number: int) -> None:
    """Judges the hits of a delivery that has a new one, now or at the end of `judged_once_per_batch`."""
    if _PENDING_KEY in connection.info:
        connection.info[_PENDING_KEY].add((message, number))
    else:
        judge_hits(connection, message, number)


def judge_hits(connection: sa.Connection, message: str, number: int, *, from_scratch: bool = False) -> tuple[int, int]:
    """Judges a delivery's latest hits beside each other, and moves its counters. Returns how many hits, and how
    many changed. `from_scratch`: all its hits, also what each is by itself."""
    event = tables.event
    most = MAX_HITS_RECLASSIFIED if from_scratch else _MAX_HITS
    rows = connection.execute(_LATEST_HITS, {"message": message, "number": number, "most": most}).mappings().all()
    delivery = _find_evidence(connection, message, number)
    if delivery is None or not rows:
        return 0, 0
    moved: dict[str, int] = {}
    changed = 0
    for row, new in zip(rows, find_changes(rows, delivery, from_scratch=from_scratch), strict=True):
        if not new:
            continue
        changed += (new["verdict"], new["reasons"]) != (row["verdict"], row["reasons"])
        connection.execute(sa.update(event).where(event.c.id == row["id"]).values(**new))
        _move_roll_ups(connection, message, row, new)
        if new["verdict"] != row["verdict"]:
            _add_to_counter(moved, COUNTERS[row["type"], row["verdict"]], -1)
            _add_to_counter(moved, COUNTERS[row["type"], new["verdict"]], 1)
        for counter in ("opens_human", "opens_implied"):
            _add_to_counter(moved, counter, new["implies_open"] - row["implies_open"])
    if moved:
        table = tables.delivery
        counters = {name: table.c[name] + by for name, by in moved.items()}
        delivery_rows.update_delivery(connection, message, number, **counters)
    return len(rows), changed


def find_changes(
    rows: Sequence[sa.RowMapping], delivery: sa.RowMapping, *, from_scratch: bool
) -> list[dict[str, Any]]:  # Any: an event's columns
    """Judges a delivery's hits, the latest first. Returns the columns that are to be set of each; none where it stays
    as it is."""
    found = delivery_verdict.judge_delivery(
        [_hit(row, from_scratch) for row in rows], list(_observations(delivery)), delivery["settled_at"]
    )
    implies = found.implies_open
    if len(rows) >= _MAX_HITS:  # the earlier ones are not here to be asked
        implies = next((n for n, row in enumerate(rows) if row["implies_open"]), None)
    firsts, of_links = _first_hits(rows, found.verdicts, implies), _first_of_links(rows, found.verdicts)
    changes: list[dict[str, Any]] = []
    for n, (row, verdict) in enumerate(zip(rows, found.verdicts, strict=True)):
        is_implied = n == implies
        reasons = [*verdict.reasons, *([IMPLIES_OPEN] if is_implied else [])]
        new = {"verdict": verdict.verdict, "reasons": reasons, "implies_open": is_implied}
        new |= {name: n == first for name, first in firsts.items()} | {"first_of_link": n in of_links}
        changes.append({} if all(value == row[name] for name, value in new.items()) else new)
    return changes


def _first_hits(
    rows: Sequence[sa.RowMapping], verdicts: Sequence[HitVerdict], implying_click: int | None
) -> dict[str, int | None]:
    """Which of the hits, the latest first, is the delivery's first open by a person, and which the first click."""
    firsts: dict[str, int | None] = {"first_open": None, "first_click": None}
    for n, (row, verdict) in enumerate(zip(rows, verdicts, strict=True)):
        if verdict.verdict in hit_verdict.PERSON_VERDICTS:
            firsts["first_open" if row["type"] == EventType.OPENED else "first_click"] = n
        if n == implying_click:
            firsts["first_open"] = n
    for name in firsts if len(rows) >= _MAX_HITS else ():  # there may be earlier ones, of which one is the first
        if not any(row[name] for row in rows):
            firsts[name] = None
    return firsts


def _first_of_links(rows: Sequence[sa.RowMapping], verdicts: Sequence[HitVerdict]) -> set[int]:
    """Which of the hits, the latest first, are each the delivery's first click by a person on their link."""
    firsts: dict[tuple[int, str], int] = {}
    counted: set[tuple[int, str]] = set()
    for n, (row, verdict) in enumerate(zip(rows, verdicts, strict=True)):
        link = row["link"], row["url"]
        if row["type"] == EventType.CLICKED and verdict.verdict in hit_verdict.PERSON_VERDICTS:
            firsts[link] = n
        if row["first_of_link"]:
            counted.add(link)
    is_all = len(rows) < _MAX_HITS  # else there may be earlier ones
    return {n for link, n in firsts.items() if is_all or link in counted}


def _move_roll_ups(
    connection: sa.Connection,
    message: str,
    row: sa.RowMapping,
    new: Mapping[str, Any],  # Any: a row's values
) -> None:
    """Counts a hit as it is now, and no longer as it was."""
    groups = roll_ups.find_streams_and_tags(connection, [message]).get(message)
    if groups is None:
        return
    roll_ups.count_event(connection, row, groups, by=-1)
    roll_ups.count_event(connection, {**row, **new}, groups)


def _hit(row: sa.RowMapping, from_scratch: bool) -> delivery_verdict.HitEvidence:
    is_click = row["type"] == EventType.CLICKED
    link = str(row["link"] or row["url"])
    return delivery_verdict.HitEvidence(
        row["at"], is_click, link, row["user_agent"], row["ip"], _own_verdict(row, is_click, from_scratch)
    )


def _own_verdict(row: sa.RowMapping, is_click: bool, from_scratch: bool) -> HitVerdict:
    """The verdict of the hit by itself, as it was at its time, unless it is overwritten."""
    reasons = tuple(reason for reason in row["reasons"] if reason != IMPLIES_OPEN)
    can_tell = row["user_agent"] or "no_user_agent" in reasons  # privacy modes keep none
    if can_tell and (from_scratch or not delivery_verdict.REASONS.isdisjoint(reasons)):
        return request_verdict.judge_user_agent(
            row["user_agent"], request_verdict.persistent_reasons(reasons), is_click=is_click
        )
    return HitVerdict(row["verdict"], tuple(reason for reason in reasons if reason not in delivery_verdict.REASONS))


def _observations(delivery: sa.RowMapping) -> Iterator[delivery_verdict.SideObservation]:
    for at, kind, user_agent, ip in delivery["observations"] or ():
        yield delivery_verdict.SideObservation(datetime.fromtimestamp(at / 1_000_000, tz=UTC), kind, user_agent, ip)


# Made once: making a statement takes longer than running it.
_EVENT, _DELIVERIES = tables.event, tables.delivery
HIT_COLUMNS = [
    *(_EVENT.c[name] for name in ("id", "type", "at", "verdict", "reasons", "implies_open")),
    *(
        _EVENT.c[name]
        for name in ("link", "url", "user_agent", "ip", "recipient", "first_open", "first_click", "first_of_link")
    ),
]
_LATEST_HITS = (
    sa.select(*HIT_COLUMNS)
    .where(
        _EVENT.c.message == sa.bindparam("message"),
        _EVENT.c.number == sa.bindparam("number"),
        _EVENT.c.type.in_(HIT_TYPES),
    )
    .order_by(_EVENT.c.id.desc())
    .limit(sa.bindparam("most", type_=sa.Integer))
)
_FIND_EVIDENCE = sa.select(_DELIVERIES.c.settled_at, _DELIVERIES.c.observations).where(
    _DELIVERIES.c.message == sa.bindparam("message"), _DELIVERIES.c.number == sa.bindparam("number")
)


def _find_evidence(connection: sa.Connection, message: str, number: int) -> sa.RowMapping | None:
    return connection.execute(_FIND_EVIDENCE, {"message": message, "number": number}).mappings().first()


def _add_to_counter(changes: dict[str, int], counter: str, amount: int) -> None:
    if amount:
        changes[counter] = changes.get(counter, 0) + amount
