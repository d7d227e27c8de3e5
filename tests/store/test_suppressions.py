"""Suppressions: until when they hold, what makes one, and who may write to the address all the same."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from relay import ids
from relay.event_type import EventType
from relay.store import retention
from relay.store.console import accounts
from relay.store.database import tables
from relay.store.database.tables import Status
from relay.store.queue import late_reports, outcomes, queue_facts
from relay.store.recipients import suppressions
from relay.store.recipients.suppressions import SuppressionEntry
from relay.store.store import Store
from tests.message_factory import NOW, insert_messages, new_message
from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost, html_mail


def entry(mailbox: str, **more: Any) -> SuppressionEntry:
    return SuppressionEntry(mailbox, "all", "", "manual", "", NOW, None)._replace(**more)


def test_an_entry_ends_when_it_expires_and_a_longer_one_takes_its_place(opened: Store) -> None:
    def add(**more: object) -> int:
        return opened.writer.submit(
            lambda connection: suppressions.add_suppressions(connection, [entry("Ends@example.com", **more)])
        ).result(60)

    def holds(at: datetime) -> dict[str, str]:
        with opened.connect() as connection:
            return suppressions.find_suppressed(connection, ["ends@Example.com"], "news", at)

    assert add(expires_at=NOW + timedelta(days=1)) == 1
    assert holds(NOW) and not holds(NOW + timedelta(days=2))
    assert add(expires_at=NOW + timedelta(hours=1)) == 0
    assert add(reason="complaint") == 1
    assert holds(NOW + timedelta(days=999)) == {"ends@example.com": "complaint"}
    assert add(expires_at=NOW + timedelta(days=5)) == 0


def test_expired_entries_are_swept(opened: Store) -> None:
    rows = [entry("gone@example.com", expires_at=NOW), entry("stays@example.com")]
    opened.writer.submit(lambda connection: suppressions.add_suppressions(connection, rows)).result(60)
    later = NOW + timedelta(seconds=1)
    sweep = opened.writer.submit(lambda connection: retention.drop_suppressions(connection, later))
    assert sweep.result(60) == 1
    with opened.connect() as connection:
        assert [row["address"] for row in suppressions.list_suppressions(connection, 9)] == ["stays@example.com"]


def disabled(opened: Store, recipient: str, at: datetime) -> queue_facts.Outcome:
    """A delivery that ends at a mailbox which is switched off. Returns how it was told."""
    one = new_message(recipient, at=at)
    insert_messages(opened, one)
    tried = queue_facts.AttemptRecord("up", "rcpt", 550, "5.2.1", "mailbox disabled", 3)
    outcome = queue_facts.Outcome(
        ids.new(), 0, recipient, Status.BOUNCED, at, "soft", "mailbox_disabled", "r", tried, is_soft_failure=True
    )
    opened.writer.submit(lambda connection: outcomes.record_outcomes(connection, one.message.id, [outcome])).result(60)
    return outcome


def held(opened: Store, recipient: str) -> list[str]:
    with opened.connect() as connection:
        return [row["evidence"] for row in suppressions.list_suppressions(connection, 9, recipient)]


@pytest.fixture
def off(opened: Store) -> Iterator[Store]:
    """A mailbox that was found switched off once."""
    disabled(opened, "Off@example.com", NOW)
    assert not held(opened, "off@example.com")
    yield opened


def test_a_mailbox_that_is_switched_off_is_dead_when_it_still_is_a_day_later(off: Store) -> None:
    disabled(off, "Off@example.com", NOW + timedelta(hours=23))
    assert not held(off, "off@example.com")
    disabled(off, "off@EXAMPLE.com", NOW + timedelta(hours=25))
    assert held(off, "off@example.com") == ["550 5.2.1 mailbox disabled"]
    with off.connect() as connection:
        kinds = connection.execute(sa.select(tables.delivery.c.kind).order_by(tables.delivery.c.message))
        assert [kind for (kind,) in kinds] == ["soft", "soft", "hard"]


def test_a_delivery_in_between_clears_the_count(off: Store) -> None:
    one = new_message("off@example.com", at=NOW)
    insert_messages(off, one)
    arrived = queue_facts.Outcome(ids.new(), 0, "off@example.com", Status.DELIVERED, NOW + timedelta(hours=2))
    off.writer.submit(lambda connection: outcomes.record_outcomes(connection, one.message.id, [arrived])).result(60)
    disabled(off, "off@example.com", NOW + timedelta(days=2))
    assert not held(off, "off@example.com")
    disabled(off, "off@example.com", NOW + timedelta(days=3, hours=1))
    assert held(off, "off@example.com")


def test_after_an_operator_removes_a_suppression_the_count_starts_again(off: Store) -> None:
    disabled(off, "off@example.com", NOW + timedelta(days=2))
    assert (
        off.writer.submit(lambda connection: suppressions.remove_suppressions(connection, "OFF@example.com")).result(60)
        == 1
    )
    disabled(off, "off@example.com", NOW + timedelta(days=4))
    assert not held(off, "off@example.com")


# --- through SMTP, HTTP and the command line


def test_mail_that_waits_is_not_sent_once_its_recipient_is_suppressed(
    relay: Waypost, upstream: ScriptedUpstream
) -> None:
    who = "e451-4.3.0+waits@example.com"
    assert relay.send(html_mail(), who).startswith("250")
    relay.cli("suppressions", "add", who, "--evidence", "asked by phone")
    [event] = relay.events("suppressed", who)
    assert event["reasons"] == ["suppressed"]
    assert not [arrival for arrival in upstream.arrivals if who in arrival.recipients]


def test_only_who_may_override_writes_to_the_suppressed(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    accounts_table = "".join(
        f'[[access.user]]\nname = "{name}"\npassword_hash = "{accounts.hash_password("secret")}"\n{more}'
        for name, more in (("may", "override = true\n"), ("not", 'stream = "news"\n'), ("other", ""))
    )
    tables = '[bounces]\nsuppressed = "reject"\n[access]\nnetworks = []\n' + accounts_table
    mail = html_mail(header="X-Waypost-Override-Suppression: yes\r\n")
    with Waypost(tmp_path, upstream.port, tables) as relay:
        relay.cli("suppressions", "add", "dead@override.example")
        relay.cli("suppressions", "add", "left@override.example", "--stream", "News", "--reason", "unsubscribe")

        def send(user: str, octets: bytes, to: str) -> str:
            with relay.client() as client:
                client.login(user, "secret")
                client.mail("app@sender.test")
                code, text = client.rcpt(to)
                if code == 250:
                    code, text = client.data(octets)
                return f"{code} {text.decode()}"

        assert send("not", mail, "dead@override.example") == "550 5.7.1 this recipient is suppressed (manual)"
        assert send("not", mail, "left@override.example") == "550 5.7.1 this recipient is suppressed (unsubscribe)"
        assert send("other", html_mail(), "left@override.example").startswith("250 ")
        assert send("may", html_mail(), "dead@override.example").startswith("250 2.0.0 accepted")
        assert relay.events("suppressed", "dead@override.example")
        assert send("may", mail, "dead@override.example").startswith("250 ")
    [arrival] = upstream.to("dead@override.example")
    assert b"override-suppression" not in arrival.octets.lower()
    assert " suppression-overridden message=" in relay.read_log()


# --- what is told later, on every database


def test_a_tiding_is_found_by_its_clues_and_settles_once(opened: Store) -> None:
    one = new_message("Told@example.com", at=NOW)
    one.message.message_id = "<told@sender.test>"
    insert_messages(opened, one)
    tried = queue_facts.AttemptRecord("up", "dot", 250, "2.0.0", "queued as 4fZk3Q0gKXz1", 3)
    arrived = queue_facts.Outcome(ids.new(), 0, "Told@example.com", Status.DELIVERED, NOW, attempt=tried)
    opened.writer.submit(lambda connection: outcomes.record_outcomes(connection, one.message.id, [arrived])).result(60)
    later = NOW + timedelta(hours=1)
    with opened.connect() as connection:
        for clues in (
            late_reports.DeliveryClues("told@example.com", later, message_id="told@sender.test"),
            late_reports.DeliveryClues("Told@example.com", later, receipt="4fZk3Q0gKXz1"),
        ):
            assert late_reports.find_reported_delivery(connection, clues) == (one.message.id, 0)
        assert (
            late_reports.find_reported_delivery(
                connection, late_reports.DeliveryClues("other@example.com", later, "told@sender.test", "4fZk3Q0gKXz1")
            )
            is None
        )
    said = queue_facts.AttemptRecord("mx.far.example", late_reports.REPORT_PHASE, 550, "5.1.1", "no such user", 0)
    tiding = late_reports.LateReport(
        ids.new(), EventType.BOUNCED, later, one.message.id, 0, said, "hard", "user_unknown", "r", suppress=True
    )
    news = [
        opened.writer.submit(partial(late_reports.apply_report, report=tiding._replace(id=ids.new(), source_id=f"{n}")))
        for n in (1, 1, 2)
    ]
    assert [told.result(60) for told in news] == [True, False, False]
    with opened.connect() as connection:
        [row] = connection.execute(sa.select(tables.delivery)).mappings()
    assert (row["status"], row["delivered_at"], row["settled_at"]) == (Status.BOUNCED, NOW, later)
    assert held(opened, "told@example.com") == ["550 5.1.1 no such user"]
