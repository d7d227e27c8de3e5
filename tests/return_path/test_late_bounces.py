"""Bounces that come back to the return path: the app gets a DSN at its own reverse-path, and what the 250 changed is
undone."""

from base64 import b64encode
from datetime import datetime, timedelta

from relay import ids, suppression_reason
from relay.event_type import EventType
from relay.store.database.tables import Status
from relay.store.queue import late_reports, outcomes, queue_facts
from relay.store.recipients import suppressions
from relay.store.store import Store
from tests.delivery.notices import arrivals, blocks, notices
from tests.message_factory import NOW, insert_messages, new_message
from tests.return_path.return_path_scene import DEAD, DOMAIN, ReturnPathScene, arf, dsn, reverse_path
from tests.waypost_server import html_mail, tracking_urls

DELAYED = "451 4.4.1 no answer from host"


def test_a_late_bounce_sends_one_dsn_to_the_apps_own_reverse_path(scene: ReturnPathScene) -> None:
    who, app = "gone@example.com", "own+tardy@sender.test"
    to = reverse_path(scene.sent(who, sender=app))
    for _ in range(2):
        assert scene.comes(to, dsn("alias@far.example", "5.1.1", DEAD)).startswith("250")
    [notice] = notices(scene.upstream, app)
    _, block = blocks(notice)
    assert block["Final-Recipient"] == f"rfc822; {who}" and block["Action"] == "failed" and block["Status"] == "5.1.1"
    assert (block["Remote-MTA"], block["Diagnostic-Code"]) == ("dns; mx.far.example", f"smtp; {DEAD}")
    [held] = scene.relay.rows("suppressions", "list", who)
    assert held["evidence"] == DEAD
    assert notice["References"] == "<m1@sender.test>"
    # Another mail's notice comes later than a second one of this would.
    to = reverse_path(scene.sent("gone2@example.com", sender="other+tardy@sender.test"))
    scene.comes(to, dsn("gone2@example.com", "5.1.1", DEAD))
    assert notices(scene.upstream, "other+tardy@sender.test") and len(arrivals(scene.upstream, app)) == 1


def test_no_dsn_is_sent_that_was_not_asked_for_or_that_nobody_reads(scene: ReturnPathScene) -> None:
    def bounced(app: str, octets: bytes, notify: str = "") -> None:
        who = app.replace("sender.test", "example.com")
        with scene.relay.client() as client:
            client.login("app", "secret")
            client.sendmail(app, [who], octets, rcpt_options=[f"NOTIFY={notify}"] if notify else [])
        to = reverse_path(scene.upstream.to(who)[0])
        assert scene.comes(to, dsn(who, "4.4.1", DELAYED, "delayed")).startswith("250")
        assert scene.comes(to, dsn(who, "5.1.1", DEAD)).startswith("250")

    bounced("never+tardy@sender.test", html_mail(), "NEVER")
    bounced("list+tardy@sender.test", html_mail(header="Precedence: bulk\r\n"))
    bounced("asked+tardy@sender.test", html_mail(), "FAILURE,DELAY")
    said = [block["Action"] for one in notices(scene.upstream, "asked+tardy@sender.test") for block in blocks(one)[1:]]
    assert "failed" in said
    for silent in ("never", "list"):
        assert not [one for one in scene.upstream.arrivals if f"{silent}+tardy@sender.test" in one.recipients]


def test_a_delay_sends_a_dsn_if_it_was_asked_for(scene: ReturnPathScene) -> None:
    app, who = "slow+tardy@sender.test", "slow+tardy@example.com"
    with scene.relay.client() as client:
        client.login("app", "secret")
        client.sendmail(app, [who], html_mail(), rcpt_options=["NOTIFY=DELAY"])
    to = reverse_path(scene.upstream.to(who)[0])
    assert scene.comes(to, dsn(who, "4.4.1", DELAYED, "delayed")).startswith("250")
    [notice] = notices(scene.upstream, app)
    assert blocks(notice)[1]["Action"] == "delayed" and scene.delivery(who)["status"] == "delivered"


# --- what a 250 proves


def late(opened: Store, at: datetime) -> None:
    """Mail that was taken with 250, and came back five minutes later: the mailbox is switched off."""
    one, who = new_message("Tardy@example.com", at=at), "Tardy@example.com"
    insert_messages(opened, one)
    tried = queue_facts.AttemptRecord("up", "dot", 250, "2.0.0", "queued", 3)
    arrived = queue_facts.Outcome(ids.new(), 0, who, Status.DELIVERED, at, attempt=tried)
    opened.writer.submit(lambda connection: outcomes.record_outcomes(connection, one.message.id, [arrived])).result(60)
    later, said = (
        at + timedelta(minutes=5),
        tried._replace(phase=late_reports.REPORT_PHASE, code=550, text="mailbox disabled"),
    )
    tiding = late_reports.LateReport(
        ids.new(), EventType.BOUNCED, later, one.message.id, 0, said, "soft", "mailbox_disabled"
    )
    opened.writer.submit(
        lambda connection: late_reports.apply_report(connection, tiding._replace(is_soft_failure=True))
    ).result(60)


def test_a_250_that_came_back_does_not_clear_the_count(opened: Store) -> None:
    for day in range(2):
        with opened.connect() as connection:
            assert not suppressions.list_suppressions(connection, 9, "tardy@example.com")
        late(opened, NOW + timedelta(days=day, minutes=day))
    with opened.connect() as connection:
        [held] = suppressions.list_suppressions(connection, 9, "tardy@example.com")
    assert held["reason"] == suppression_reason.HARD_BOUNCE


# --- odd reports


def test_a_report_that_returns_a_large_mail_whole_is_read(scene: ReturnPathScene) -> None:
    who = "large+tardy@example.com"
    to = reverse_path(scene.sent(who))
    whole = b"Subject: x\r\n\r\n" + (b"y" * 76 + b"\r\n") * 150_000
    assert scene.comes(to, dsn(who, "5.1.1", DEAD, returned=whole)) == "250 2.0.0 read"
    assert scene.delivery(who)["status"] == "bounced"


def test_at_a_role_address_any_link_complains_and_only_the_return_path_bounces(scene: ReturnPathScene) -> None:
    who = "role+tardy@example.com"
    arrival = scene.sent(who)
    pixel = tracking_urls(arrival.octets)["o"][0]
    returned = b"Subject: x\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b64encode(f'<img src="{pixel}">'.encode())
    assert scene.comes(f"abuse@{DOMAIN}", dsn(who, "5.1.1", DEAD, returned=returned)).startswith("550 5.7.1")
    assert scene.delivery(who)["status"] == "delivered" and not scene.suppressed(who)
    assert scene.comes(f"abuse@{DOMAIN}", arf("abuse", returned)).startswith("250")
    assert scene.delivery(who)["complained_at"]
    returned = f"Return-Path: <{reverse_path(arrival)}>\r\nSubject: x\r\n\r\n".encode()
    assert scene.comes(f"postmaster@{DOMAIN}", dsn(who, "5.1.1", DEAD, returned=returned)).startswith("250")
    assert scene.delivery(who)["status"] == "bounced"
