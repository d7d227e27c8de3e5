"""What an earlier version wrote is read by this one: its database, and the facts in its journal."""

import asyncio
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from relay import ids
from relay.attribution import delivery_verdict
from relay.store import roll_up_rebuild
from relay.store.database import columns, engine, migrate, tables, webhook_tables
from relay.store.database import indexes as index_metadata
from relay.store.database.roll_up_tables import roll_up
from relay.store.database.tables import Status
from relay.store.facts import FACTS
from relay.store.queue.queue_facts import AttemptRecord, Outcome, OutcomesFact
from relay.store.recipients import consent
from relay.store.store import Store
from relay.store.tracking import verdicts
from relay.store.tracking.hit_facts import TrackingRequest
from relay.store.views import statistics
from tests.message_factory import NOW, new_message

_ROWS = (
    """INSERT INTO message (id, accepted_at, message_id, author, subject, reverse_path, takes_notices, size_octets,
    stream, tags, meta, links, reasons, pixels, plan, body, smtputf8, ret, envid, client, expires_at)
    VALUES ('m', 1, '', '', '', 'app@sender.test', true, 1,
    '', '[]', '{}', '[]', '[]', 0, '', '', false, '', '', '', 2)""",
    """INSERT INTO delivery (message, number, recipient, notify, orcpt, status, kind, category, attempts, leased_by,
    tracked, opens_human, opens_proxied, opens_machine, opens_unknown, clicks_human, clicks_machine, clicks_unknown,
    owes, told, asides)
    VALUES ('m', 0, 'ann@example.com', '', '', 'bounced', 'hard', 'user_unknown', 1, '',
    true, 0, 0, 0, 0, 0, 0, 0,
    'failed', 'delayed', '[[1, "page", "", ""]]')""",
    "INSERT INTO heard VALUES ('~id', 1)",
    "INSERT INTO strike VALUES ('ann@example.com', 'mailbox_disabled', 1, 2)",
    """INSERT INTO outbox (webhook, event, message, attempts, next_attempt_at, leased_by)
    VALUES ('w', 'e', 'm', 0, 1, '')""",
)

_PARTITION = re.compile("(event|attempt)_")
_INSERT_EVENT = sa.text(
    """INSERT INTO event (id, type, at, message, number, recipient, verdict, reasons, url, link, user_agent, ip, detail,
    implies_open) VALUES (:id, :type, :at, :message, :number, :recipient, :verdict, :reasons, '', 0, '', '', '',
    :implies)"""
)


@pytest.fixture(params=["sqlite", "postgresql"])
def earlier(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    """A database, of each kind, before revision 0015."""
    url = engine.database_url("", tmp_path) if request.param == "sqlite" else request.getfixturevalue("postgresql")()
    opened = engine.open_engine(url, may_write=True, may_create=True)
    with opened.begin() as connection:
        migrate._migrate(connection, "0014")
    yield opened
    opened.dispose()


def test_an_earlier_database_keeps_its_rows_under_the_new_names(earlier: sa.Engine) -> None:
    with earlier.begin() as connection:
        for row in _ROWS:
            connection.exec_driver_sql(row)
    migrate.upgrade_schema(earlier)
    with earlier.begin() as connection:
        assert connection.scalar(sa.select(tables.message.c.accepts_dsn)) is True
        columns = (tables.delivery.c.dsn_due, tables.delivery.c.dsn_sent, tables.delivery.c.observations)
        assert tuple(connection.execute(sa.select(*columns)).one()) == ("failed", "delayed", [[1, "page", "", ""]])
        for renamed in (tables.processed_provider_event, tables.soft_failure, webhook_tables.webhook_queue):
            assert connection.scalar(sa.select(sa.func.count()).select_from(renamed)) == 1
        # Ids go on where they were: the order of a message's requests depends on it.
        new = {"webhook": "w", "event": "f", "message": "m", "attempts": 0, "next_attempt_at": NOW, "leased_by": ""}
        connection.execute(sa.insert(webhook_tables.webhook_queue), new)
        assert list(connection.scalars(sa.select(webhook_tables.webhook_queue.c.id))) == [1, 2]


def test_the_events_of_an_earlier_database_are_counted(earlier: sa.Engine) -> None:
    mine, at = ids.new(NOW), int(NOW.timestamp() * 1_000_000)
    happened = (
        ("accepted", None, "", "", '["signed"]', False),
        ("delivered", 0, "ann@Example.com", "", "[]", False),
        ("bounced", 1, "bob", "", '["user_unknown"]', False),
        ("clicked", 0, "ann@Example.com", "human", '["implies_open"]', True),
        ("clicked", 0, "ann@Example.com", "human", "[]", False),
        ("opened", 0, "ann@Example.com", "machine", "[]", False),
    )
    with earlier.begin() as connection:
        message = _ROWS[0].replace("'m'", f"'{mine}'").replace("'', '[]', '{}'", "'news', '[\"a\", \"ü\"]', '{}'")
        connection.exec_driver_sql(message)
        for n, (type_, number, recipient, verdict, reasons, implies) in enumerate(happened):
            row = {"id": ids.new(NOW + timedelta(minutes=n * 20)), "at": at, "type": type_, "message": mine}
            row |= {"number": number, "recipient": recipient, "verdict": verdict, "reasons": reasons}
            connection.execute(_INSERT_EVENT, row | {"implies": implies})
    migrate.upgrade_schema(earlier)
    with earlier.begin() as connection:
        found = _count_rows(connection)
        totals = statistics.read_totals(connection, statistics.Selection(NOW, tag="ü"))
        assert (totals.accepted, totals.delivered, totals.opened_by, totals.clicked_by) == (1, 1, 1, 1)
        assert (totals.opens.human, totals.clicks.human, totals.categories) == (1, 2, {"user_unknown": 1})
        assert statistics.read_totals(connection, statistics.Selection(NOW, domain="example.com")).delivered == 1
    with earlier.begin() as connection:
        assert roll_up_rebuild.rebuild_next_hours(connection, None) == (len(happened), None, True)
    with earlier.begin() as connection:
        assert _count_rows(connection) == found, "as a rebuild counts them"


def test_an_attempt_of_an_earlier_database_has_no_conversation(earlier: sa.Engine) -> None:
    row = """INSERT INTO attempt (message, number, at, upstream, phase, code, status, text, took_ms, rule, uncertain)
    VALUES ('m', 0, 1, 'up', 'rcpt', 550, '5.1.1', 'no such user', 3, '', false)"""
    with earlier.begin() as connection:
        connection.exec_driver_sql(row)
    migrate.upgrade_schema(earlier)
    with earlier.begin() as connection:
        kept = sa.select(tables.attempt.c.text, tables.attempt.c.conversation)
        assert [tuple(one) for one in connection.execute(kept)] == [("no such user", "")]


def test_an_outcome_in_an_earlier_journal_has_no_conversation(opened: Store) -> None:
    attempt = AttemptRecord("up", "rcpt", 451, "4.7.1", "later", 3)
    one = new_message("ann@example.com")
    one = one._replace(outcomes=[Outcome("e", 0, "ann@example.com", Status.DEFERRED, NOW, attempt=attempt)])
    message, octets, deliveries, [outcome], *rest = json.loads(FACTS["new_message"].adapter.dump_json(one))
    [at] = [n for n, value in enumerate(outcome) if isinstance(value, list)]
    assert outcome[at].pop() == ""
    line = b"new_message " + json.dumps([message, octets, deliveries, [outcome], *rest]).encode()
    stays = opened.writer.submit(lambda connection: opened.journal.apply_lines(connection, [line])).result(60)
    assert stays == ([], [])
    with opened.connect() as connection:
        assert connection.scalar(sa.select(tables.attempt.c.text).where(tables.attempt.c.conversation == "")) == "later"


def _count_rows(connection: sa.Connection) -> set[tuple[object, ...]]:
    return {tuple(row) for row in connection.execute(sa.select(roll_up))}


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index delivery_by_recipient")
@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index")
def test_the_migrated_schema_is_that_of_the_code(earlier: sa.Engine) -> None:
    migrate.upgrade_schema(earlier)
    with earlier.begin() as connection:
        assert index_metadata.__name__  # the module fills the metadata
        options = {"include_name": lambda name, type_, _parents: type_ != "table" or not _PARTITION.match(name or "")}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), columns.metadata) == []
        indexes = {
            index["name"]
            for name in ("delivery", "webhook_queue")
            for index in sa.inspect(connection).get_indexes(name)
        }
        assert {"delivery_dsn_due", "webhook_queue_due"} <= indexes and not {"delivery_owes", "outbox_due"} & indexes


def test_a_journal_line_with_earlier_names_of_columns_is_replayed(opened: Store) -> None:
    one = new_message("ann@example.com")
    one.message.accepts_dsn = True
    one = one._replace(outcomes=[Outcome("e", 0, "ann@example.com", Status.BOUNCED, NOW, dsn_due="failed")])
    message, octets, deliveries, *rest = json.loads(FACTS["new_message"].adapter.dump_json(one))
    for row, new, old in (
        (message, "accepts_dsn", "takes_notices"),
        *((row, new, old) for row in deliveries for new, old in (("dsn_due", "owes"), ("dsn_sent", "told"))),
        *((row, "observations", "asides") for row in deliveries),
    ):
        row[old] = row.pop(new)
    deliveries[0]["told"] = "delayed"
    line = b"filing " + json.dumps([message, octets, deliveries, *rest]).encode()
    stays = opened.writer.submit(lambda connection: opened.journal.apply_lines(connection, [line])).result(60)
    assert stays == ([], [])
    with opened.connect() as connection:
        assert connection.scalar(sa.select(tables.message.c.accepts_dsn)) is True
        columns = (tables.delivery.c.dsn_due, tables.delivery.c.dsn_sent)
        assert tuple(connection.execute(sa.select(*columns)).one()) == ("failed", "delayed")


def test_a_journal_with_earlier_names_of_facts_is_replayed(opened: Store, tmp_path: Path) -> None:
    one = new_message("ann@example.com", "bob@example.com")
    mine = one.message.id
    arrived = Outcome("e", 0, "ann@example.com", Status.DELIVERED, NOW)
    facts: list[tuple[str, str, object]] = [
        ("filing", "new_message", one),
        ("settled", "outcomes", OutcomesFact(mine, [arrived])),
        ("sight", "observation", verdicts.DeliveryObservation(NOW, mine, 0, delivery_verdict.PAGE)),
        ("untrack", "stop_tracking", TrackingRequest(NOW, mine, 0)),
        ("untrack", "stop_tracking", TrackingRequest(NOW, mine, 1)),
        ("track", "resume_tracking", TrackingRequest(NOW, mine, 1)),
    ]
    lines = [b"%s %s" % (old.encode(), FACTS[name].adapter.dump_json(value)) for old, name, value in facts]
    folder = tmp_path / "journal"
    folder.mkdir(exist_ok=True)
    (folder / "06h1q54ohcrnerf48d60.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    assert opened.journal.find_lines("outcomes") == [lines[1] + b"\n"]
    asyncio.run(opened.replay_journal())
    assert list(folder.iterdir()) == []
    with opened.connect() as connection:
        columns = tables.delivery.c.status, tables.delivery.c.observations
        rows = connection.execute(sa.select(*columns).order_by(tables.delivery.c.number)).all()
        assert [row.status for row in rows] == [Status.DELIVERED, Status.QUEUED]
        assert delivery_verdict.PAGE in str(rows[0].observations)
        assert consent.find_untracked(connection, ["ann@example.com", "bob@example.com"]) == {"ann@example.com"}
