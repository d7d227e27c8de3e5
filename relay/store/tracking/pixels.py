"""Stand-alone pixels: a picture with a name and a log of its own, pasted into a mail by hand.

In: hits, as the web process has judged them.  Out: the log. Quick repeats of one visitor are one line with a count.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from relay import ids, tokens
from relay.edits import Hole, Kind
from relay.store.database import columns, console_tables
from relay.store.tracking.hit_counts import HitCounts
from relay.store.tracking.hit_facts import Hit

MAX_REPEAT_GAP = timedelta(minutes=2)  # mail programs fetch a picture again while a mail is open
MAX_NAME = 100  # characters
MAX_HITS = 1000  # of one pixel that are shown


class PixelHit(NamedTuple):
    """A request for a pixel, as its table has it."""

    id: str
    pixel: str
    at: datetime
    verdict: str
    reasons: list[str]
    user_agent: str = ""
    ip: str = ""


class PixelSummary(NamedTuple):
    """A pixel and how often it was fetched."""

    id: str
    name: str
    token: str
    created_at: datetime
    opens: HitCounts
    last_at: datetime | None


class PixelLogLine(NamedTuple):
    """One visitor's hits in quick succession."""

    first_at: datetime
    last_at: datetime
    times: int
    verdict: str
    reasons: list[str]
    user_agent: str
    ip: str


class NameTakenError(ValueError):
    """There is a pixel of that name."""


def create_pixel(connection: sa.Connection, ring: tokens.KeyRing, name: str, at: datetime) -> PixelSummary:
    """Makes a pixel. Raises NameTakenError; ValueError, with a sentence for the user, for a bad name."""
    name = name.strip()
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise ValueError(f"a name has 1 to {MAX_NAME} characters on one line")
    table = console_tables.pixel
    if connection.scalar(sa.select(table.c.id).where(table.c.name == name)):
        raise NameTakenError(f"there is a pixel named {name!r} already")
    made = ids.new(at)
    token = ring.mint(Hole(Kind.OPEN), made, tokens.STANDALONE_PIXEL)
    connection.execute(sa.insert(table), {"id": made, "name": name, "token": token, "created_at": at})
    return PixelSummary(made, name, token, at, HitCounts(), None)


def remove_pixel(connection: sa.Connection, pixel: str) -> bool:
    """Removes the pixel of that id and its log. Requests for it are not counted any more. False if there is none."""
    connection.execute(sa.delete(console_tables.pixel_hit).where(console_tables.pixel_hit.c.pixel == pixel))
    return bool(connection.execute(sa.delete(console_tables.pixel).where(console_tables.pixel.c.id == pixel)).rowcount)


def pixel_url(public_url: str, token: str, suffix: str = "png") -> str:
    """The pixel's URL."""
    return f"{public_url}/{Kind.OPEN}/{token}.{suffix}"


def record_pixel_hit(connection: sa.Connection, hit: Hit) -> bool:
    """Records a hit, once, and moves the counter. False if there is no such pixel."""
    hits, table = console_tables.pixel_hit, console_tables.pixel
    if connection.scalar(sa.select(hits.c.id).where(hits.c.id == hit.id)):
        return True
    counter = table.c[f"opens_{hit.verdict}"]
    moved = sa.update(table).where(table.c.id == hit.message).values({counter: counter + 1})
    if not connection.execute(moved).rowcount:
        return False
    row = PixelHit(
        id=hit.id,
        pixel=hit.message,
        at=hit.at,
        verdict=hit.verdict,
        reasons=list(hit.reasons),
        user_agent=hit.user_agent,
        ip=hit.ip,
    )
    connection.execute(sa.insert(hits), row._asdict())
    return True


def list_pixels(connection: sa.Connection, limit: int, before: str = "") -> list[PixelSummary]:
    """Pixels, the newest first, older than the one with the id `before`."""
    query = _select_summaries().order_by(console_tables.pixel.c.id.desc()).limit(limit)
    return _summaries(connection, query.where(console_tables.pixel.c.id < before) if before else query)


def find_pixel(connection: sa.Connection, id_or_name: str) -> PixelSummary | None:
    """The pixel of that id, or else of that name."""
    table = console_tables.pixel
    found = _summaries(
        connection, _select_summaries().where(sa.or_(table.c.id == id_or_name, table.c.name == id_or_name)).limit(2)
    )
    return next((one for one in found if one.id == id_or_name), found[0] if found else None)


def list_pixel_log(connection: sa.Connection, pixel: str) -> list[PixelLogLine]:
    """The latest hits of a pixel, the newest first, with quick repeats grouped."""
    table = console_tables.pixel_hit
    query = sa.select(table).where(table.c.pixel == pixel).order_by(table.c.id.desc()).limit(MAX_HITS)
    return group_repeats(PixelHit(**row) for row in connection.execute(query).mappings())


def group_repeats(hits: Iterable[PixelHit]) -> list[PixelLogLine]:
    """The hits, the newest first, as lines, also the newest first.

    A visitor is an address, a user agent and a verdict. If privacy settings store neither of the first two, each hit is
    a line of its own.
    """
    lines: list[PixelLogLine] = []
    latest: dict[tuple[str, str, str], int] = {}
    for hit in hits:
        who = (hit.ip, hit.user_agent, hit.verdict)
        n = latest.get(who)
        if n is not None and (hit.ip or hit.user_agent) and lines[n].first_at - hit.at <= MAX_REPEAT_GAP:
            lines[n] = lines[n]._replace(first_at=hit.at, times=lines[n].times + 1)
            continue
        latest[who] = len(lines)
        lines.append(PixelLogLine(hit.at, hit.at, 1, hit.verdict, list(hit.reasons), hit.user_agent, hit.ip))
    return lines


def _select_summaries() -> sa.Select[tuple[object, ...]]:
    table, hits = console_tables.pixel, console_tables.pixel_hit
    last = sa.select(sa.func.max(hits.c.at, type_=columns.UtcTime)).where(hits.c.pixel == table.c.id).scalar_subquery()
    return sa.select(table, last.label("last_at"))


def _summaries(connection: sa.Connection, statement: sa.Select[tuple[object, ...]]) -> list[PixelSummary]:
    return [
        PixelSummary(
            row["id"],
            row["name"],
            row["token"],
            row["created_at"],
            HitCounts(*(row[f"opens_{verdict}"] for verdict in HitCounts._fields)),
            row["last_at"],
        )
        for row in connection.execute(statement).mappings()
    ]
