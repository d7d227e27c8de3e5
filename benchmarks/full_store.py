"""Fills a store as a year of mail would: messages, deliveries, attempts, hits and events, with counters that agree.

    python -m benchmarks.full_store FOLDER [--messages 1000000] [--events 5000000] [--days 30] [--url postgresql+psycopg://…]

In: an empty folder.  Out: its database (waypost.db), made in minutes, since rows are written by the driver and indexes
last; the same for the same numbers. `waypost stats rebuild`, called at the end, counts what is there.
`benchmarks.full_store_times` measures pages, calls and commands on it.
"""

import argparse
import json
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from relay import ids, tokens
from relay.attribution import request_verdict
from relay.event_type import EventType
from relay.node import data_directory
from relay.store import message_labels, message_words, roll_up_rebuild
from relay.store.database import engine, tables
from relay.store.database.preparation import prepare_database
from relay.store.database.tables import Status
from relay.store.store import Store
from relay.store.tracking import verdicts

_BATCH = 20_000  # messages a commit
_KEPT_CONTENTS = 20_000  # of the newest messages
_WAITING = 2_000  # of the newest messages
_SUPPRESSIONS = 50_000
_STREAMS = ("", "news", "transactional", "alerts", "digest")
_TAGS = ("welcome", "receipt", "weekly", "eu", "us", "reset", "sale", "survey")
_WORDS = ("invoice", "order", "delivery", "account", "password", "offer", "summer", "review", "report", "trip")
_AGENTS = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
    "curl/8.5.0",
)
_AGENT_WEIGHTS = (50, 25, 15, 10)
_STATUSES = (Status.DELIVERED, Status.BOUNCED, Status.SUPPRESSED, Status.EXPIRED)
_STATUS_WEIGHTS = (940, 30, 22, 8)
_CATEGORY_OF = {Status.SUPPRESSED: "suppressed", Status.EXPIRED: "expired", Status.DEFERRED: "greylisted"}
_CATEGORIES = ("user_unknown", "mailbox_full", "policy", "spam", "domain_unknown")
MAIL = b"Subject: Hello\r\nContent-Type: text/html\r\n\r\n<p>Hello <a href='https://shop.example/'>shop</a></p>\r\n"


class Size(NamedTuple):
    """How much is made, up to when."""

    messages: int
    events: int
    days: int
    now: datetime


class _Table:
    """Rows of a table, as the driver takes them: a template of its defaults, of which some columns are set."""

    def __init__(self, table: sa.Table, **required: Any) -> None:  # Any: a row's values, here and below
        self.table = table
        row = {column.name: _default(column) for column in table.c} | required
        self.names = [column.name for column in self.table.c if column.name in row and row[column.name] is not None]
        self.names += [column.name for column in self.table.c if row.get(column.name) is None and column.name != "id"]
        self._at = {name: n for n, name in enumerate(self.names)}
        self._template = [_as_stored(row.get(name)) for name in self.names]
        self.rows: list[list[Any]] = []

    def add(self, **values: Any) -> None:
        row = self._template[:]
        for name, value in values.items():
            row[self._at[name]] = value
        self.rows.append(row)


def _default(column: sa.Column[Any]) -> Any:
    default: Any = column.default
    if default is None:
        return None
    return default.arg(None) if default.is_callable else default.arg


def _as_stored(value: Any) -> Any:
    if isinstance(value, list | dict):
        return json.dumps(value)
    return microseconds(value) if isinstance(value, datetime) else value


def microseconds(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000)


class FullStore:
    """Makes the rows, batch by batch, in order of time."""

    def __init__(self, size: Size) -> None:
        self._size = size
        self._random = random.Random(1)
        self._judged = [
            [request_verdict.judge_user_agent(agent, (), is_click=is_click) for agent in _AGENTS]
            for is_click in (False, True)
        ]
        at = size.now
        self.messages = _Table(tables.message, id="m", accepted_at=at, expires_at=at)
        self.deliveries = _Table(tables.delivery, message="m", number=0, recipient="")
        self.attempts = _Table(tables.attempt, message="m", number=0, at=at, upstream="primary", phase="dot", code=250)
        self.events = _Table(tables.event, id="e", type="accepted", at=at)
        if "id" not in self.events.names:
            self.events.names.append("id")
        self.labels: list[list[Any]] = []
        self._hits_left = 0.0

    def batches(self) -> Iterator[int]:
        """Makes the next batch's rows; yields how many messages there are so far."""
        count, span = self._size.messages, timedelta(days=self._size.days)
        # A message is accepted and comes to an end: what is left of the events are hits.
        per_message = (self._size.events - 2.1 * count) / count
        for n in range(count):
            at = self._size.now - span + span * (n / count)
            self._make_message(n, at, per_message)
            if (n + 1) % _BATCH == 0 or n + 1 == count:
                yield n + 1

    def _make_message(self, n: int, at: datetime, hits: float) -> None:
        pick = self._random
        made = ids.from_parts(int(at.timestamp() * 1000), pick.randbytes(6))
        stream, us = pick.choice(_STREAMS), microseconds(at)
        tags = [pick.choice(_TAGS)] if n % 3 else []
        meta = {"order": str(n)} if n % 4 == 0 else {}
        links = [
            {"number": k, "url": f"https://shop.example/{k}", "decision": "tracked", "reason": "", "text": str(k)}
            for k in (1, 2, 3)
        ]
        recipients = 10 if n % 100 == 0 else 1
        self.messages.add(
            id=made, accepted_at=us, expires_at=us, message_id=f"{n}.{made}@app.example", stream=stream,
            author=f"{stream or 'app'}@sender.example", reverse_path="bounce@sender.example", size_octets=len(MAIL),
            subject=" ".join(pick.choices(_WORDS, k=3)) + f" {n}", tags=json.dumps(tags), meta=json.dumps(meta),
            links=json.dumps(links), pixels=1, client="192.0.2.1",
        )  # fmt: skip
        self.labels += [[message_labels.TAG, tag, made] for tag in tags]
        self.labels += [[message_labels.metadata_label("order"), value, made] for value in meta.values()]
        self._add_event(made, at, made, EventType.ACCEPTED, None, "")
        is_new = n >= self._size.messages - _WAITING
        for number in range(recipients):
            self._make_delivery(made, number, at, hits / recipients, waits=is_new and n % 2 == 0, stream=stream)

    def _make_delivery(self, message: str, number: int, at: datetime, hits: float, *, waits: bool, stream: str) -> None:
        pick = self._random
        domain = f"mail{int(300 * pick.random() ** 3)}.example"  # some have much more than others
        recipient = f"user{pick.randrange(400_000)}@{domain}"
        status = Status.DEFERRED if waits else pick.choices(_STATUSES, _STATUS_WEIGHTS)[0]
        category = _CATEGORY_OF.get(status) or pick.choice(_CATEGORIES)
        category = "" if status is Status.DELIVERED else category
        ended = at + timedelta(milliseconds=pick.randrange(200, 5000))
        code = 250 if status is Status.DELIVERED else 451 if waits else 550
        text = "2.0.0 OK" if code == 250 else "no such user here"
        if status is not Status.SUPPRESSED:
            self.attempts.add(message=message, number=number, at=microseconds(ended), code=code, text=text, took_ms=120)
        values: dict[str, Any] = {"status": status.value, "category": category, "stream": stream, "attempts": 1}
        if waits:
            values["next_attempt_at"] = microseconds(self._size.now + timedelta(minutes=pick.randrange(-5, 600)))
        else:
            values["settled_at"] = microseconds(ended)
        if status is Status.DELIVERED:
            values |= {"delivered_at": microseconds(ended)}
            self._hits_left += hits / 0.94
            values |= self._make_hits(message, number, ended, recipient)
        reasons = [category] if category else []
        event = ids.from_parts(int(ended.timestamp() * 1000), pick.randbytes(6))
        self._add_event(event, ended, message, EventType(status.value), number, recipient, reasons=reasons, detail=text)
        self.deliveries.add(message=message, number=number, recipient=recipient, **values)

    def _make_hits(self, message: str, number: int, ended: datetime, recipient: str) -> dict[str, int]:
        """Returns the delivery's counters."""
        pick, counters = self._random, dict.fromkeys(verdicts.COUNTERS.values(), 0)
        count = min(int(self._hits_left * 2 * pick.random()), 40)
        self._hits_left -= count
        at, firsts, clicked = ended, {"first_open": False, "first_click": False}, set[int]()
        for _ in range(count):
            at += timedelta(seconds=pick.randrange(3_600, 40_000))
            if at >= self._size.now:
                at = self._size.now - timedelta(seconds=pick.randrange(1, 600))
            is_click, which = pick.random() < 0.25, pick.choices(range(4), _AGENT_WEIGHTS)[0]
            judged = self._judged[is_click][which]
            counters[verdicts.COUNTERS[EventType.CLICKED if is_click else EventType.OPENED, judged.verdict]] += 1
            first = "first_click" if is_click else "first_open"
            is_first = judged.verdict in ("human", "proxied") and not firsts[first]
            firsts[first] |= is_first
            link = pick.randrange(1, 4) if is_click else 0
            first_of_link = is_click and judged.verdict == "human" and link not in clicked
            clicked |= {link} if first_of_link else set()
            self._add_event(
                ids.from_parts(int(at.timestamp() * 1000), pick.randbytes(6)), at, message,
                EventType.CLICKED if is_click else EventType.OPENED, number, recipient, reasons=list(judged.reasons),
                verdict=judged.verdict, user_agent=_AGENTS[which], ip="203.0.113.0", link=link,
                url=f"https://shop.example/{link}" if is_click else "", **({first: True} if is_first else {}),
                **({"first_of_link": True} if first_of_link else {}),
            )  # fmt: skip
        return counters

    def _add_event(
        self, event: str, at: datetime, message: str, type_: EventType, number: int | None, recipient: str,
        reasons: Sequence[str] = (), **values: Any,
    ) -> None:  # fmt: skip
        why = json.dumps(reasons) if reasons else "[]"
        values |= {"message": message, "number": number, "recipient": recipient, "reasons": why}
        self.events.add(id=event, at=microseconds(at), type=type_.value, **values)


def _insert(connection: sa.Connection, table: sa.Table, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "postgresql":
        with driver.cursor() as cursor, cursor.copy(f"COPY {table.name} ({', '.join(names)}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        return
    marks = ", ".join("?" * len(names))
    driver.executemany(f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks})", rows)


def fill(folder: Path, url: str, size: Size) -> None:
    """Makes the database and fills it."""
    url = url or engine.database_url("", folder)
    tokens.open_key_ring(folder / data_directory.KEYS_FILE)
    prepare_database(url)
    opened, made, began_s = engine.open_engine(url, may_write=True), FullStore(size), time.monotonic()
    loaded = (tables.message, tables.delivery, tables.attempt, tables.event, tables.message_label, tables.suppression)
    indexes = [index for table in loaded for index in table.indexes if not index.unique]
    with opened.connect() as connection:
        with connection.begin():
            for index in indexes:
                index.drop(connection)
        for count in made.batches():
            with connection.begin():
                for rows in (made.messages, made.deliveries, made.attempts, made.events):
                    _insert(connection, rows.table, rows.names, rows.rows)
                    rows.rows.clear()
                _insert(connection, tables.message_label, ("name", "value", "message"), made.labels)
                made.labels.clear()
            print(f"{count:,} messages, {time.monotonic() - began_s:.0f} s", flush=True)
        with connection.begin():
            _fill_rest(connection, size)
            for index in indexes:
                index.create(connection)
    opened.dispose()
    print(f"indexes, {time.monotonic() - began_s:.0f} s", flush=True)
    store = Store(url, folder)
    after: datetime | None = None
    while (step := store.writer.submit(partial(roll_up_rebuild.rebuild_next_hours, after=after)).result()).until:
        after = step.until
    print(f"roll-ups, {time.monotonic() - began_s:.0f} s", flush=True)
    while store.writer.submit(message_words.store_due_words).result():
        pass
    store.analyze()
    store.close()
    print(f"words, {time.monotonic() - began_s:.0f} s", flush=True)


def _fill_rest(connection: sa.Connection, size: Size) -> None:
    newest = sa.select(tables.message.c.id, sa.literal(MAIL)).order_by(tables.message.c.id.desc()).limit(_KEPT_CONTENTS)
    connection.execute(sa.insert(tables.content).from_select(["message", "octets"], newest))
    connection.execute(sa.insert(tables.message_word_due).from_select(["message"], sa.select(tables.message.c.id)))
    names = ("address", "scope", "stream", "reason", "evidence", "message", "created_at")
    count, at = min(_SUPPRESSIONS, size.messages), microseconds(size.now)
    rows = ([f"gone{n}@mail{n % 300}.example", "all", "", "hard_bounce", "550 no", "", at] for n in range(count))
    _insert(connection, tables.suppression, names, rows)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--messages", type=int, default=1_000_000)
    options.add_argument("--events", type=int, default=5_000_000)
    options.add_argument("--days", type=int, default=30)
    options.add_argument("--url", default="", help="of a database; default: SQLite in the folder")
    chosen = options.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    fill(chosen.folder, chosen.url, Size(chosen.messages, chosen.events, chosen.days, datetime.now(UTC)))


if __name__ == "__main__":
    main()
