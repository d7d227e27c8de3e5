"""Stand-alone pixels: a picture with a name and a log of its own, pasted into a mail by hand.

In: hits, as the web side saw them.  Out: the log, where quick repeats of one visitor are one line with a count.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from relay import ids, tokens
from relay.edits import Hole, Kind
from relay.store.database import console_tables, tables
from relay.store.database.console_tables import Pixel, PixelHit
from relay.store.tracking.hit_counts import HitCounts

if TYPE_CHECKING:
    from relay.store.tracking.hits import Hit

REPEAT_WITHIN = timedelta(minutes=2)  # mail programs fetch a picture again while a mail is being looked at
LONGEST_NAME = 100  # characters
MOST_HITS = 1000  # of one pixel that are shown


class Seen(NamedTuple):
    """A pixel and how often it was fetched."""

    id: str
    name: str
    token: str
    created_at: datetime
    opens: HitCounts
    last_at: datetime | None


class Line(NamedTuple):
    """One visitor's hits in quick succession."""

    first_at: datetime
    last_at: datetime
    times: int
    verdict: str
    reasons: list[str]
    user_agent: str
    ip: str


class NameTaken(ValueError):
    """There is a pixel of that name."""


def create(connection: sa.Connection, ring: tokens.KeyRing, name: str, at: datetime) -> Seen:
    """Makes a pixel. Raises NameTaken; ValueError with a sentence for a name that cannot be one."""
    name = name.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise ValueError(f"a name has 1 to {LONGEST_NAME} characters on one line")
    table = console_tables.pixel
    if connection.scalar(sa.select(table.c.id).where(table.c.name == name)):
        raise NameTaken(f"there is a pixel named {name!r} already")
    made = ids.new(at)
    token = ring.mint(Hole(Kind.OPEN), made, tokens.STANDALONE_PIXEL)
    connection.execute(sa.insert(table), tables.values(Pixel(id=made, name=name, token=token, created_at=at)))
    return Seen(made, name, token, at, HitCounts(), None)


def remove(connection: sa.Connection, pixel: str) -> bool:
    """Removes the pixel of that id and its log. What is fetched at its address counts nothing any more. False if there
    is none."""
    connection.execute(sa.delete(console_tables.pixel_hit).where(console_tables.pixel_hit.c.pixel == pixel))
    return bool(connection.execute(sa.delete(console_tables.pixel).where(console_tables.pixel.c.id == pixel)).rowcount)


def url(public_url: str, token: str, suffix: str = "png") -> str:
    """Its address; with `gif` as well."""
    return f"{public_url}/{Kind.OPEN}/{token}.{suffix}"


def record(connection: sa.Connection, hit: "Hit") -> bool:
    """Writes a hit down, once, and moves the counter. False if there is no such pixel."""
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
    connection.execute(sa.insert(hits), tables.values(row))
    return True


def listing(connection: sa.Connection, limit: int, before: str = "") -> list[Seen]:
    """Pixels, the newest first, older than the one with the id `before`."""
    wanted = _seen().order_by(console_tables.pixel.c.id.desc()).limit(limit)
    return _read(connection, wanted.where(console_tables.pixel.c.id < before) if before else wanted)


def find(connection: sa.Connection, id_or_name: str) -> Seen | None:
    """The pixel of that id, or else of that name."""
    table = console_tables.pixel
    found = _read(connection, _seen().where(sa.or_(table.c.id == id_or_name, table.c.name == id_or_name)).limit(2))
    return next((one for one in found if one.id == id_or_name), found[0] if found else None)


def log(connection: sa.Connection, pixel: str) -> list[Line]:
    """Its latest hits, the newest first, quick repeats together."""
    table = console_tables.pixel_hit
    wanted = sa.select(table).where(table.c.pixel == pixel).order_by(table.c.id.desc()).limit(MOST_HITS)
    return grouped(PixelHit(**row) for row in connection.execute(wanted).mappings())


def grouped(hits: Iterable[PixelHit]) -> list[Line]:
    """The hits, the newest first, as lines, also the newest first.

    One visitor is one address, user agent and verdict; where privacy keeps neither of the two, each hit is a line.
    """
    lines: list[Line] = []
    latest: dict[tuple[str, str, str], int] = {}
    for hit in hits:
        who = (hit.ip, hit.user_agent, hit.verdict)
        n = latest.get(who)
        if n is not None and (hit.ip or hit.user_agent) and lines[n].first_at - hit.at <= REPEAT_WITHIN:
            lines[n] = lines[n]._replace(first_at=hit.at, times=lines[n].times + 1)
            continue
        latest[who] = len(lines)
        lines.append(Line(hit.at, hit.at, 1, hit.verdict, list(hit.reasons), hit.user_agent, hit.ip))
    return lines


def _seen() -> sa.Select[tuple[object, ...]]:
    table, hits = console_tables.pixel, console_tables.pixel_hit
    last = sa.select(sa.func.max(hits.c.at, type_=tables.UtcTime)).where(hits.c.pixel == table.c.id).scalar_subquery()
    return sa.select(table, last.label("last_at"))


def _read(connection: sa.Connection, wanted: sa.Select[tuple[object, ...]]) -> list[Seen]:
    return [
        Seen(
            row["id"],
            row["name"],
            row["token"],
            row["created_at"],
            HitCounts(*(row[f"opens_{verdict}"] for verdict in HitCounts._fields)),
            row["last_at"],
        )
        for row in connection.execute(wanted).mappings()
    ]
