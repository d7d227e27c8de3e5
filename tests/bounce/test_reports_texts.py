"""Which mail is a bounce, and which of the addresses in it is the recipient's.

*Mail that a person wrote is never a bounce, whatever it quotes.*
"""

import pytest

from relay.bounce import report

DAEMON = "MAILER-DAEMON@mx.example.net"


def read(author: str, subject: str, body: str, fields: str = "") -> report.Report:
    mail = f"From: {author}\nTo: b+t@bounces.example.org\nSubject: {subject}\n{fields}\n{body}"
    return report.read_report(mail.encode())


@pytest.mark.parametrize(
    ("author", "subject", "body"),
    [
        ("Bob <bob@example.net>", "Re: Undeliverable: Hello", "I got this.\nann@example.com\nfailed.\n"),
        ("Bob <bob@example.net>", "FW: Delivery Status Notification (Failure)", "<ann@example.com>: 550 5.1.1 unknown"),
        ("Postmaster <postmaster@example.net>", "Re: our server", "We have fixed it for ann@example.com.\n"),
        ("Postmaster <postmaster@example.net>", "Maintenance", "Our server will be down on Friday.\n"),
        ("Shop <shop@example.net>", "Your order was delivered", "Your parcel has been delivered to ann@example.com."),
        (
            "Service <no-reply@example.net>",
            "Your account",
            "The account ann@example.com is disabled. 550 tries failed.",
        ),
        ("Nagios <nagios@example.net>", "PROBLEM: mail queue", "Mail to ann@example.com failed: 550 5.1.1 unknown"),
    ],
)
def test_what_only_speaks_of_bounces_is_none(author: str, subject: str, body: str) -> None:
    assert read(author, subject, body).kind == "none"


@pytest.mark.parametrize(
    ("subject", "body", "fields"),
    [
        ("Out of Office: Hello", "I am away. Contact ben@example.com", "Return-Path: <>\n"),
        ("Hello", "My mail will not be delivered. Contact\nben@example.com", "Auto-Submitted: auto-replied\n"),
        ("Autoreply: Hello", "ann@example.com is no longer valid, user unknown", "Return-Path: <>\n"),
        ("Not read: Hello", "Deleted.", "Content-Type: multipart/report; report-type=disposition-notification\n"),
        ("[SpamArrest] Verification required", "Please click to verify.", ""),
    ],
)
def test_an_automatic_reply_kills_no_address(subject: str, body: str, fields: str) -> None:
    got = read("Ann <ann@example.com>", subject, body, fields)
    assert (got.kind, got.recipients) == ("auto_reply", ())


@pytest.mark.parametrize(
    ("body", "recipients"),
    [
        ("ann@example.com unknown", ["ann@example.com"]),
        ("It could not be delivered to ann@example.com, ben@example.com.", ["ann@example.com", "ben@example.com"]),
        ("Delivery failed:\n ann@example.com; ben@example.com\n", ["ann@example.com", "ben@example.com"]),
        ("Recipient        Reason\nann@example.com  550 5.1.1 unknown\n", ["ann@example.com"]),
        ("Mail from news@example.org to ann@example.com was not delivered\n", ["ann@example.com"]),
        ("Failed.\n\nFrom: news@example.org\nTo: ann@example.com\n\nReason: 550 unknown\n", ["ann@example.com"]),
        ("Mail to ann@example.com failed.\n\nFor help contact\nhelpdesk@example.net\n", ["ann@example.com"]),
        ("Mail to ann@example.com failed.\n\n--\nThe helpdesk\nhelpdesk@example.net\n", ["ann@example.com"]),
        ('<"ann x"@example.com>: user unknown\n', ['"ann x"@example.com']),
        ("<o'hara@example.com>: user unknown\n", ["o'hara@example.com"]),
        ("The address 'ann+tag@example.com' is unknown.\n", ["ann+tag@example.com"]),
        ("<ann@[192.0.2.1]>: user unknown\n", ["ann@[192.0.2.1]"]),
        ("<用户@例子.example>: user unknown\n", ["用户@例子.example"]),
        ("收件人ann@example.com不存在\n", ["ann@example.com"]),
        ("<b+t@bounces.example.org>: user unknown\n", ["b+t@bounces.example.org"]),
    ],
)
def test_the_recipient_is_told_from_the_other_addresses(body: str, recipients: list[str]) -> None:
    got = read(DAEMON, "Undelivered", body)
    assert (got.kind, [one.recipient for one in got.recipients]) == ("text", recipients)


def test_a_reply_of_one_recipient_is_not_taken_for_another_s() -> None:
    body = "These failed:\n\nann@example.com: 552 5.2.2 Mailbox full\nben@example.com: no such user\n"
    ann, ben = read(DAEMON, "Undelivered", body).recipients
    assert (ann.verdict.category, ann.code) == ("mailbox_full", 552)
    assert (ben.verdict.category, ben.code) == ("user_unknown", 0)
