"""The DSN that a reverse-path gets: people and programs can read it, and it comes once, where it is wanted."""

from pathlib import Path
from time import sleep

from tests.delivery.notices import arrivals, blocks, notices
from tests.upstream import EXTENSIONS, ScriptedUpstream
from tests.waiting import until
from tests.waypost_server import Waypost, html_mail

GONE = "e550-5.1.1"


def test_a_mixed_outcome_sends_a_dsn_and_the_rest_of_the_mail_goes(relay: Waypost, upstream: ScriptedUpstream) -> None:
    sender = "mixed+notice@sender.test"
    mail = html_mail(subject="Your order", header="Bcc: secret@example.com\r\nX-Order: 1047\r\n")
    recipients = ("fine@example.com", f"{GONE}+n1@example.com", f"{GONE}+n2@example.com")
    assert relay.send(mail, *recipients, sender=sender).startswith("250 2.0.0 accepted as ")
    assert upstream.to("fine@example.com")
    [notice] = notices(upstream, sender)
    assert notice["From"] == "Mail Delivery System <MAILER-DAEMON@localhost>" and notice["To"] == sender
    assert notice["Auto-Submitted"] == "auto-replied"
    assert notice["In-Reply-To"] == notice["References"] == "<m1@sender.test>"
    assert notice.get_content_type() == "multipart/report"
    assert notice["Content-Type"].params["report-type"] == "delivery-status"
    text, status, returned = notice.iter_parts()
    for said in (*recipients[1:], "550 5.1.1 scripted", "Subject: Your order", "could not be delivered"):
        assert said in text.get_content()
    assert "fine@example.com" not in text.get_content() and status["Content-Transfer-Encoding"] == "7bit"
    head, *found = blocks(notice)
    assert head["Reporting-MTA"] == "dns; localhost" and head["Arrival-Date"]
    for block, recipient in zip(found, recipients[1:], strict=True):
        assert block["Final-Recipient"] == f"rfc822; {recipient}"
        assert (block["Action"], block["Status"], block["Remote-MTA"]) == ("failed", "5.1.1", "dns; 127.0.0.1")
        assert block["Diagnostic-Code"] == "smtp; 550 5.1.1 scripted" and block["Last-Attempt-Date"]
    assert returned.get_content_type() == "text/rfc822-headers"
    headers = returned.get_payload()
    assert isinstance(headers, str)
    assert "X-Order: 1047\r\n" in headers.replace("\n", "\r\n").replace("\r\r", "\r")
    assert "Received: from app.test" in headers and "secret@" not in headers and "<html>" not in headers
    # The notice is mail like any other in the records, of a stream of its own, with nothing added to it.
    rows = relay.wait_for_rows(
        "messages",
        "--query",
        sender,
        fits=lambda rows: all(delivery["status"] != "queued" for row in rows for delivery in row["deliveries"]),
    )
    [row] = [row for row in rows if row["stream"] == "notice"]
    assert row["links"] == [] and row["deliveries"][0]["status"] == "delivered"
    [arrived] = arrivals(upstream, sender)
    assert b"List-Unsubscribe" not in arrived.octets and b"/o/" not in arrived.octets


def test_no_dsn_is_sent_for_a_failure_that_the_app_got_as_its_reply(relay: Waypost, upstream: ScriptedUpstream) -> None:
    for n in range(2):
        recipient = f"{GONE}+heard{n}@example.com"
        assert relay.send(html_mail(), recipient, sender="heard@sender.test").startswith("550 5.1.1")
    relay.send(html_mail(), "last@example.com", f"{GONE}+last@example.com", sender="last@sender.test")
    assert notices(upstream, "last@sender.test")
    assert not [one for one in upstream.arrivals if "heard@sender.test" in one.recipients]


def test_no_dsn_is_sent_for_bulk_and_automatic_mail_or_to_a_null_reverse_path(
    relay: Waypost, upstream: ScriptedUpstream
) -> None:
    """And a notice that bounces is the end of it."""
    fields = (
        "Precedence: bulk",
        "Precedence: list",
        "List-Id: <news.sender.test>",
        "List-Unsubscribe: <mailto:leave@sender.test>",
        "Auto-Submitted: auto-replied",
    )
    for n, field in enumerate(fields):
        mail = html_mail(header=f"{field}\r\n")
        assert relay.send(mail, "ok@example.com", f"{GONE}+b{n}@example.com", sender="bulk@sender.test")[:3] == "250"
    assert relay.send(html_mail(), "ok@example.com", f"{GONE}+null@example.com", sender="")[:3] == "250"
    sender = "d550-5.1.1+lost@sender.test"
    assert relay.send(html_mail(), "ok@example.com", f"{GONE}+lost@example.com", sender=sender)[:3] == "250"
    assert relay.events("bounced", sender)
    sleep(1.5)
    rows = [row for row in relay.rows("messages", "--limit", "1000") if row["stream"] == "notice"]
    told = [row["deliveries"][0]["recipient"] for row in rows]
    assert told.count(sender) == 1 and "bulk@sender.test" not in told and "" not in told


def test_the_parameters_of_the_client_are_honoured(relay: Waypost, upstream: ScriptedUpstream) -> None:
    sender = "params@sender.test"
    with relay.client() as client:
        client.ehlo()
        assert client.mail(sender, ("RET=FULL", "ENVID=QQ+2B314"))[0] == 250
        for recipient, parameters in (
            ("ok@example.com", ()),
            (f"{GONE}+orcpt@example.com", ("NOTIFY=FAILURE,DELAY", "ORCPT=rfc822;Bob+2Bx@Example.com")),
            (f"{GONE}+never@example.com", ("NOTIFY=NEVER",)),
            (f"{GONE}+success@example.com", ("NOTIFY=SUCCESS",)),
        ):
            assert client.rcpt(recipient, parameters)[0] == 250
        assert client.data(html_mail(header="X-Name: Zo\xeb\r\n").decode().encode("latin-1"))[0] == 250
    [notice] = notices(upstream, sender)
    head, *found = blocks(notice)
    assert head["Original-Envelope-Id"] == "QQ+314"
    assert [block["Final-Recipient"] for block in found] == [f"rfc822; {GONE}+orcpt@example.com"]
    assert found[0]["Original-Recipient"] == "rfc822; Bob+x@Example.com"
    *_, returned = notice.iter_parts()
    assert returned.get_content_type() == "message/rfc822" and returned["Content-Transfer-Encoding"] == "8bit"
    [arrived] = arrivals(upstream, sender)
    assert b"X-Name: Zo\xeb\r\n" in arrived.octets and b'<a href="https://shop.example/a?b=1">' in arrived.octets
    assert "BODY=8BITMIME" in arrived.mail


def test_notify_success_gets_a_dsn_if_the_next_server_sends_none(
    relay: Waypost, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    def send(by: Waypost, sender: str) -> None:
        with by.client() as client:
            client.ehlo()
            assert client.mail(sender, ("ENVID=S1",))[0] == 250
            for recipient, parameters in (
                ("glad@example.com", ("NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;glad@old.example")),
                ("quiet@example.com", ("NOTIFY=FAILURE",)),
                (f"{GONE}+glad@example.com", ("NOTIFY=SUCCESS,FAILURE",)),
            ):
                assert client.rcpt(recipient, parameters)[0] == 250
            assert client.data(html_mail())[0] == 250

    def reported_actions(by: ScriptedUpstream, sender: str) -> list[tuple[str, str]]:
        [notice] = notices(by, sender)
        return [(block["Final-Recipient"].removeprefix("rfc822; "), block["Action"]) for block in blocks(notice)[1:]]

    send(relay, "success@sender.test")
    failed = (f"{GONE}+glad@example.com", "failed")
    assert reported_actions(upstream, "success@sender.test") == [("glad@example.com", "relayed"), failed]
    [notice] = notices(upstream, "success@sender.test")
    block = blocks(notice)[1]
    assert block["Original-Recipient"] == "rfc822; glad@old.example" and block["Status"] == "2.0.0"
    assert "sends no" in next(notice.iter_parts()).get_content()

    second = ScriptedUpstream(extensions=(*EXTENSIONS, "DSN"))
    try:
        with Waypost(tmp_path, second.port) as other:
            send(other, "success@sender.test")
            assert reported_actions(second, "success@sender.test") == [failed]
            [arrival] = second.to("glad@example.com")
            assert "NOTIFY=SUCCESS,FAILURE" in arrival.rcpts[0]
    finally:
        second.close()


def test_an_internationalised_mail_has_an_internationalised_notice(relay: Waypost, upstream: ScriptedUpstream) -> None:
    sender, gone = "jos\u00e9@sender.test", f"{GONE}+\u7528@example.com"
    with relay.client() as client:
        client.ehlo()
        client.command_encoding = "utf-8"
        assert client.mail(sender, ("SMTPUTF8",))[0] == 250
        assert client.rcpt("ok@example.com")[0] == client.rcpt(gone)[0] == 250
        assert client.data(html_mail(subject="\u3053\u3093"))[0] == 250
    [arrived] = arrivals(upstream, sender)
    assert "SMTPUTF8" in arrived.mail
    octets = arrived.octets.decode()
    for said in ("message/global-delivery-status", "message/global-headers", f"Final-Recipient: utf-8; {gone}\r\n"):
        assert said in octets


def test_the_dsn_of_expired_mail_has_the_last_reply(relay: Waypost, upstream: ScriptedUpstream) -> None:
    sender = "expires@sender.test"
    mail = html_mail(header="X-Waypost-Expires-In: 2s\r\n")
    assert relay.send(mail, "e450-4.2.1+expires@example.com", sender=sender).startswith("250")
    [notice] = notices(upstream, sender)
    [block] = blocks(notice)[1:]
    assert (block["Action"], block["Status"]) == ("failed", "4.4.7")
    assert block["Diagnostic-Code"] == "smtp; 450 4.2.1 scripted"


def test_notices_can_be_turned_off_and_a_crash_neither_loses_nor_doubles_one(tmp_path: Path) -> None:
    upstream = ScriptedUpstream()
    relay = Waypost(tmp_path, upstream.port, "[delivery]\nnotices = false\n")
    try:
        with relay:
            relay.send(html_mail(), "ok@example.com", f"{GONE}+off@example.com", sender="off@sender.test")
        relay.config.write_text(
            relay.config.read_text().replace("notices = false", 'retry = ["1s"]\nnotify_delay = "1s"')
        )
        relay.start()
        upstream.delay_s = 0.5
        relay.send(html_mail(), "ok@example.com", f"{GONE}+killed@example.com", sender="killed@sender.test")
        relay.kill()
        upstream.delay_s = 0.0
        with relay:
            assert notices(upstream, "killed@sender.test")
            sleep(2.5)
            rows = [row for row in relay.rows("messages") if row["stream"] == "notice"]
            assert [row["deliveries"][0]["recipient"] for row in rows] == ["killed@sender.test"]
            with relay.client() as client:
                client.ehlo()
                client.mail("late@sender.test")
                client.rcpt("e450-4.2.1+late@example.com", ("NOTIFY=DELAY",))
                assert client.data(html_mail())[0] == 250
            [notice] = notices(upstream, "late@sender.test")
            [block] = blocks(notice)[1:]
            assert (block["Action"], block["Status"]) == ("delayed", "4.2.1") and block["Will-Retry-Until"]
            assert len(relay.events("deferred", "e450-4.2.1+late@example.com", count=3)) >= 3
            assert len(notices(upstream, "late@sender.test")) == 1
    finally:
        upstream.close()


def test_where_addresses_are_not_kept_the_notice_still_names_them_and_the_records_do_not(tmp_path: Path) -> None:
    upstream = ScriptedUpstream()
    gone = f"{GONE}+veiled@example.com"
    try:
        with Waypost(tmp_path, upstream.port, '[privacy]\nmode = "pseudonymous"\n') as relay:
            assert relay.send(html_mail(), "ok@example.com", gone, sender="veiled@sender.test").startswith("250")
            [notice] = notices(upstream, "veiled@sender.test")
            assert blocks(notice)[1]["Final-Recipient"] == f"rfc822; {gone}"
            kept = until(  # the notice's own delivery is settled too
                lambda: relay.sql("SELECT recipient, dsn_due, dsn_sent FROM delivery ORDER BY message, number"),
                fits=lambda rows: not any("@" in recipient for recipient, _, _ in rows),
            )
            assert [row[1:] for row in kept] == [("", ""), ("", "failed"), ("", "")]
    finally:
        upstream.close()
