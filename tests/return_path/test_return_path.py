"""What comes back by mail: every token is ours or it changes nothing, and a report is as good as a live reply."""

import hashlib
import hmac
import re
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import ids, return_path
from relay.return_path import NotOurAddressError, Purpose, ReturnToken
from tests.return_path.return_path_scene import DEAD, DOMAIN, ReturnPathScene, arf, dsn, reverse_path
from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost, html_mail

SECRET = b"s" * 32
RETURNS = st.builds(
    ReturnToken,
    st.sampled_from(Purpose),
    st.binary(min_size=12, max_size=12).map(ids.from_octets),
    st.integers(0, 100_000),
)

# --- addresses


@given(RETURNS)
def test_an_address_says_what_it_was_made_of_in_any_case(token: ReturnToken) -> None:
    mailbox = return_path.make_mailbox(SECRET, DOMAIN, token)
    local = mailbox.rpartition("@")[0]
    assert re.fullmatch(r"[bu]\+[0-9a-v]+", local) and len(local) <= 64
    assert return_path.parse_local_part(SECRET, local) == return_path.parse_local_part(SECRET, local.upper()) == token
    assert return_path.find_in_text(SECRET, DOMAIN, f"<x@y.example> Return-Path: <{mailbox.upper()}>") == token


@given(RETURNS, st.data())
def test_a_changed_token_is_refused(token: ReturnToken, data: st.DataObject) -> None:
    local = return_path.make_mailbox(SECRET, DOMAIN, token).rpartition("@")[0]
    at = data.draw(st.integers(0, len(local) - 1))
    forged = local[:at] + data.draw(st.sampled_from("0123456789abuv")) + local[at + 1 :]
    if forged != local:
        with pytest.raises(NotOurAddressError):
            return_path.parse_local_part(SECRET, forged)
    with pytest.raises(NotOurAddressError):
        return_path.parse_local_part(b"t" * 32, local)


@given(st.text(max_size=90))
def test_any_local_part_has_an_answer(text: str) -> None:
    for local in (text, f"b+{text}", f"u+{text}"):
        with pytest.raises(NotOurAddressError):
            return_path.parse_local_part(SECRET, local)


# --- a relay with a return path


def test_each_recipient_has_a_reverse_path_of_its_own_and_the_null_one_stays_null(scene: ReturnPathScene) -> None:
    with scene.relay.client() as app:
        app.login("app", "secret")
        app.sendmail(
            "app@sender.test", ["verp-one@example.com", "verp-two@example.com"], b"Subject: x\r\n\r\nplain\r\n"
        )
    paths = [reverse_path(scene.upstream.to(f"verp-{name}@example.com")[0]) for name in ("one", "two")]
    assert len(set(paths)) == 2
    assert all(re.fullmatch(rf"b\+[0-9a-v]{{30,62}}@{DOMAIN}", path) for path in paths)
    assert reverse_path(scene.sent("null@example.com", sender="")) == ""


def test_a_late_hard_bounce_turns_delivered_into_bounced_and_keeps_both_times(scene: ReturnPathScene) -> None:
    who = "late@example.com"
    to = reverse_path(scene.sent(who))
    before = scene.delivery(who)
    assert before["status"] == "delivered" and before["bounced_at"] is None
    arrivals = scene.arrived
    # Somebody else's address is named: the token decides.
    assert scene.comes(to.upper(), dsn("forwarded@other.example", "5.1.1", DEAD)) == "250 2.0.0 read"
    after = scene.delivery(who)
    assert (after["status"], after["kind"], after["category"]) == ("bounced", "hard", "user_unknown")
    assert after["delivered_at"] == before["delivered_at"] < after["bounced_at"]
    last = after["attempts"][-1]
    assert (last["phase"], last["upstream"], last["code"]) == ("report", "mx.far.example", 550)
    assert "user unknown" in last["text"]
    [held] = scene.suppressed(who)
    assert held["reason"] == "hard_bounce" and held["message"] == after["id"].partition(".")[0]
    # A second time changes nothing, and nobody was answered.
    assert scene.comes(to, dsn(who, "5.1.1", DEAD)).startswith("250")
    assert len(scene.relay.events("bounced", who)) == 1 and len(scene.delivery(who)["attempts"]) == 2
    assert scene.arrived == arrivals
    assert not scene.suppressed("other.example")


def test_a_full_mailbox_bounces_and_is_not_suppressed(scene: ReturnPathScene) -> None:
    who = "full.later@example.com"
    scene.comes(reverse_path(scene.sent(who)), dsn(who, "5.2.2", "552 5.2.2 mailbox is full"))
    after = scene.delivery(who)
    assert (after["status"], after["kind"], after["category"]) == ("bounced", "soft", "mailbox_full")
    assert not scene.suppressed(who)


def test_a_delay_is_noted_and_is_no_bounce(scene: ReturnPathScene) -> None:
    who = "slow@example.com"
    to = reverse_path(scene.sent(who))
    for _ in range(2):
        assert scene.comes(to, dsn(who, "4.4.1", "451 4.4.1 no answer from host", "delayed")).startswith("250")
    [event] = scene.relay.events("deferred", who)
    assert "report" in event["reasons"] and "no answer" in event["detail"]
    assert scene.delivery(who)["status"] == "delivered"


def test_forged_expired_and_unknown_addresses_are_refused_and_change_nothing(scene: ReturnPathScene) -> None:
    who = "forged@example.com"
    to = reverse_path(scene.sent(who))
    local = to.partition("@")[0]
    old = ReturnToken(
        Purpose.BOUNCE, ids.from_parts(int(datetime(2020, 1, 1, tzinfo=UTC).timestamp() * 1000), bytes(6)), 0
    )
    for mailbox in (
        f"{local[:10]}{'a' if local[10] != 'a' else 'b'}{local[11:]}@{DOMAIN}",
        f"u{local[1:]}@{DOMAIN}",
        return_path.make_mailbox(SECRET, DOMAIN, old),
        f"ann@{DOMAIN}",
        f"b+@{DOMAIN}",
    ):
        assert scene.comes(mailbox, dsn(who, "5.1.1", DEAD)).startswith("550 5.1.1"), mailbox
    forged = scene.comes(f"postmaster@{DOMAIN}", dsn(who, "5.1.1", DEAD, returned=html_mail()))
    assert forged.startswith("550 5.7.1")
    assert scene.delivery(who)["status"] == "delivered" and not scene.suppressed(who)


def test_anybody_may_report_and_nobody_may_relay(scene: ReturnPathScene) -> None:
    to = reverse_path(scene.sent("open@example.com"))
    arrivals = scene.arrived
    assert scene.comes("victim@elsewhere.example", b"x", "spammer@example.net").startswith("530 5.7.0")
    with scene.relay.client() as world:
        world.ehlo()
        world.mail("spammer@example.net")
        assert world.rcpt(to)[0] == 250
        assert world.rcpt("victim@elsewhere.example")[0] == 530
        assert world.rcpt(to)[0] == 452
        assert world.data(b"Subject: hello\r\n\r\nnot a report\r\n")[0] == 250
    with scene.relay.client() as app:
        app.login("app", "secret")
        app.mail("app@sender.test")
        assert app.rcpt("friend@example.com")[0] == 250
        assert app.rcpt(to)[0] == 452
        app.rset()
        app.mail("app@sender.test")
        assert app.rcpt(to)[0] == 250
        assert app.rcpt("friend@example.com")[0] == 452
    assert scene.arrived == arrivals
    assert scene.delivery("open@example.com")["status"] == "delivered"


def test_a_complaint_without_a_token_of_its_own_is_known_by_the_mail_it_returns(scene: ReturnPathScene) -> None:
    who = "angry@example.com"
    arrived = scene.sent(who).octets
    assert scene.comes(f"abuse@{DOMAIN}", arf("abuse", arrived), "fbl@mail.example").startswith("250")
    delivery = scene.delivery(who)
    assert delivery["complained_at"] and delivery["status"] == "delivered"
    [held] = scene.suppressed(who)
    assert (held["scope"], held["reason"]) == ("all", "complaint")
    scene.comes(f"abuse@{DOMAIN}", arf("abuse", arrived), "fbl@mail.example")
    assert len(scene.relay.events("complained", who)) == 1


def test_not_spam_is_no_complaint_and_an_opt_out_is_an_unsubscribe(scene: ReturnPathScene) -> None:
    who = "calm@example.com"
    arrival = scene.sent(who)
    assert scene.comes(reverse_path(arrival), arf("not-spam", arrival.octets)).startswith("250")
    assert not scene.delivery(who)["complained_at"] and not scene.suppressed(who)
    assert scene.comes(reverse_path(arrival), arf("opt-out", arrival.octets)).startswith("250")
    [held] = scene.suppressed(who)
    assert (held["scope"], held["reason"]) == ("stream", "unsubscribe")


def test_an_automatic_reply_changes_nothing_and_gets_no_answer(scene: ReturnPathScene) -> None:
    who = "away@example.com"
    to = reverse_path(scene.sent(who))
    arrivals = scene.arrived
    away = (
        b"From: away@example.com\r\nSubject: Out of office\r\nAuto-Submitted: auto-replied\r\n\r\nBack on Monday.\r\n"
    )
    assert scene.comes(to, away, who) == "250 2.0.0 read"
    assert scene.delivery(who)["status"] == "delivered" and scene.arrived == arrivals


def test_who_writes_to_the_mailto_address_is_unsubscribed(scene: ReturnPathScene) -> None:
    who = "leaves@example.com"
    octets = scene.sent(who, html_mail(header="X-Waypost-Stream: news\r\n")).octets
    found = re.search(rb"List-Unsubscribe: <http[^>]+>,\r\n <mailto:([^>?]+)\?subject=unsubscribe>\r\n", octets)
    assert found and b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in octets
    to = found[1].decode()
    away = b"From: x@example.com\r\nSubject: Auto: away\r\nAuto-Submitted: auto-replied\r\n\r\nBack on Monday.\r\n"
    assert scene.comes(to, away, who).startswith("250") and scene.comes(to, away, "").startswith("250")
    assert not scene.suppressed(who)
    assert (
        scene.comes(to, b"From: x@example.com\r\nSubject: unsubscribe\r\n\r\n", who) == "250 2.0.0 you are unsubscribed"
    )
    [held] = scene.suppressed(who)
    assert (held["scope"], held["stream"], held["reason"]) == ("stream", "news", "unsubscribe")
    [event] = scene.relay.events("unsubscribed", who)
    assert event["reasons"] == ["mailto"] and scene.delivery(who)["unsubscribed_at"]


def test_addresses_outlive_a_rotation_of_keys(scene: ReturnPathScene) -> None:
    who = "rotated@example.com"
    to = reverse_path(scene.sent(who))
    scene.relay.cli("keys", "rotate")
    assert scene.comes(to, dsn(who, "5.1.1", DEAD)).startswith("250")
    assert scene.delivery(who)["status"] == "bounced"


def test_a_providers_webhook_settles_mail_that_went_through(scene: ReturnPathScene) -> None:
    who = "webhook@example.com"
    scene.sent(who)
    stamp, token = str(int(time.time())), "t1"
    signature = hmac.new(b"key", (stamp + token).encode(), hashlib.sha256).hexdigest()
    event = {
        "event": "failed", "severity": "permanent", "id": "e1", "timestamp": time.time(), "recipient": who,
        "message": {"headers": {"message-id": "m1@sender.test"}}, "delivery-status": {"code": 550, "message": DEAD},
    }  # fmt: skip
    body = {"signature": {"timestamp": stamp, "token": token, "signature": signature}, "event-data": event}
    answer = httpx.post(f"{scene.relay.tracking}/in/mailgun", json=body)
    assert (answer.status_code, answer.json()["taken"]) == (200, 1)
    assert scene.delivery(who)["status"] == "bounced" and scene.suppressed(who)


def test_without_a_return_path_the_apps_own_goes_on_and_strangers_are_turned_away_at_once(
    relay: Waypost, upstream: ScriptedUpstream
) -> None:
    relay.send(html_mail(), "plain.path@example.com", sender="Own+Path@sender.test")
    [arrival] = upstream.to("plain.path@example.com")
    assert reverse_path(arrival) == "Own+Path@sender.test"
    assert b"mailto:" not in arrival.octets


def test_the_upstream_is_chosen_by_the_apps_own_reverse_path(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    other = ScriptedUpstream()
    tables = (
        f'[[upstream]]\nname = "b"\naddress = "127.0.0.1:{other.port}"\ntls = "off"\nsenders = ["@b.example"]\n'
        f'[bounces]\nreturn_path = "{DOMAIN}"\n'
    )
    try:
        with Waypost(tmp_path, None, tables) as relay:
            relay.send(html_mail(), "chosen@example.com", sender="app@b.example")
            with pytest.raises(AssertionError, match="no \\[\\[upstream\\]\\] sends"):
                relay.send(html_mail(), "chosen@example.com", sender="app@a.example")
        assert reverse_path(other.to("chosen@example.com")[0]).endswith(f"@{DOMAIN}")
    finally:
        other.close()
