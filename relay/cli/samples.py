"""The demo's sample mail, and what its recipients do with it."""

import base64
import quopri
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import NamedTuple


class Sample(NamedTuple):
    """A mail to send."""

    key: str
    sender: str
    recipients: tuple[str, ...]
    subject: str
    octets: bytes


class RecipientAction(NamedTuple):
    """What a recipient does with a mail: the kind, the person, the user agent, and how many links."""

    key: str
    kind: str  # open | click | unsubscribe
    recipient_name: str
    user_agent: str
    links: int = 1
    recipient: int = 0  # the recipient's number


_IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148"
)
_FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"
_GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
_APPLE = "Mozilla/5.0"
_SCANNER = "Mozilla/5.0 (compatible; Barracuda Sentinel)"


def _make_mail(sender: str, to: str, subject: str, *header: str, body: str) -> bytes:
    fields = [
        f"From: {sender}",
        f"To: {to}",
        f"Subject: {subject}",
        f"Date: {format_datetime(datetime.now(UTC))}",
        "MIME-Version: 1.0",
        *header,
    ]
    return ("\n".join(fields) + "\n\n" + body).replace("\n", "\r\n").encode("utf-8")


_NEWSLETTER_HTML = """\
<!DOCTYPE html>
<html><head><meta charset="utf-8"><title>The November seeds</title></head>
<body style="margin:0;background:#f4f1ea;font-family:Georgia,serif">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0"><tr><td align="center" style="padding:32px 12px">
<table role="presentation" width="560" cellpadding="0" cellspacing="0" style="background:#ffffff;border-radius:10px">
<tr><td style="padding:36px 40px 8px"><p style="margin:0;color:#7a8450;letter-spacing:2px;font-size:12px">THE SEED DRAWER</p>
<h1 style="margin:10px 0 14px;font-size:28px;color:#2d3319">What to sow when nothing grows</h1>
<p style="line-height:1.6;color:#4a4f3a">Broad beans, garlic, and patience. Three packets for the dark month, and a
<a href="https://seeds.example/calendar?utm_source=email&amp;utm_medium=email&amp;utm_campaign=november" style="color:#5d6b2f">calendar</a> to hang by the door.</p></td></tr>
<tr><td style="padding:8px 40px 28px"><!--[if mso]><v:roundrect href="https://seeds.example/november" style="height:44px;width:210px" fillcolor="#5d6b2f"><center>Open the drawer</center></v:roundrect><![endif]-->
<!--[if !mso]><!-- --><a href="https://seeds.example/november" style="display:inline-block;background:#5d6b2f;color:#fff;padding:12px 26px;border-radius:6px;text-decoration:none">Open the drawer</a><!--<![endif]--></td></tr>
<tr><td style="padding:18px 40px 30px;border-top:1px solid #eee7d8;font-size:12px;color:#8a8a7a">You get this because you asked for it.
<a href="{{waypost_unsubscribe_url}}" style="color:#8a8a7a">Unsubscribe</a></td></tr>
</table></td></tr></table></body></html>
"""
_NEWSLETTER_TEXT = """\
What to sow when nothing grows

Broad beans, garlic, and patience: https://seeds.example/november

Unsubscribe: {{waypost_unsubscribe_url}}
"""
_RECEIPT_HTML = """\
<html><body style="font-family:sans-serif"><h2>Thank you – your receipt</h2>
<p>1 × Enamel kettle, café green … 38,00 €</p>
<p><a href="https://shop.example/orders/1047?view=receipt">View order 1047</a></p></body></html>
"""
_RESET_HTML = """\
<html><body><p>Somebody, you we hope, asked for a new door code.</p>
<p><a href="https://door.example/reset?t=7f3a" clicktracking="off">Choose a new code</a></p>
<p>Was it not you? <a href="https://door.example/help">Tell us</a>.</p></body></html>
"""


def _make_newsletter(to: str) -> bytes:
    body = (
        f"--nl\nContent-Type: text/plain; charset=utf-8\n\n{_NEWSLETTER_TEXT}\n"
        f"--nl\nContent-Type: text/html; charset=utf-8\n\n{_NEWSLETTER_HTML}\n--nl--\n"
    )
    return _make_mail(
        "The Seed Drawer <letters@seeds.example>",
        to,
        "What to sow when nothing grows",
        'Content-Type: multipart/alternative; boundary="nl"',
        "X-Waypost-Stream: newsletter",
        "X-Waypost-Tag: november",
        "List-Id: <letters.seeds.example>",
        body=body,
    )


def _make_receipt() -> bytes:
    body = quopri.encodestring(_RECEIPT_HTML.encode()).decode("ascii")
    return _make_mail(
        "Shop <orders@shop.example>",
        "ida@example.com",
        "Your receipt for order 1047",
        "Content-Type: text/html; charset=utf-8",
        "Content-Transfer-Encoding: quoted-printable",
        "X-Waypost-Stream: transactional",
        "X-Waypost-Meta-Order: 1047",
        body=body,
    )


def _make_reset() -> bytes:
    body = base64.encodebytes(_RESET_HTML.encode()).decode("ascii")
    return _make_mail(
        "Front Door <no-reply@door.example>",
        "noor@example.com",
        "Reset your door code",
        "Content-Type: text/html; charset=utf-8",
        "Content-Transfer-Encoding: base64",
        "X-Waypost-Stream: transactional",
        body=body,
    )


def _make_plain_mail(to: str, subject: str, text: str) -> bytes:
    return _make_mail("Ivo <ivo@club.example>", to, subject, "Content-Type: text/plain; charset=utf-8", body=text)


_READERS = ("ada@example.com", "ben@example.net", "cleo@example.org", "dan@example.com")

SAMPLES = (
    Sample(
        "newsletter",
        "letters@seeds.example",
        _READERS,
        "What to sow when nothing grows",
        _make_newsletter("readers@seeds.example"),
    ),
    Sample("receipt", "orders@shop.example", ("ida@example.com",), "Your receipt for order 1047", _make_receipt()),
    Sample("reset", "no-reply@door.example", ("noor@example.com",), "Reset your door code", _make_reset()),
    Sample(
        "minutes",
        "ivo@club.example",
        ("lea@example.com",),
        "Minutes",
        _make_plain_mail("lea@example.com", "Minutes", "The minutes are at https://club.example/minutes\n\n-- \nIvo\n"),
    ),
    Sample(
        "dead",
        "ivo@club.example",
        ("bounce@sandbox.test",),
        "To an address that is gone",
        _make_plain_mail("bounce@sandbox.test", "To an address that is gone", "Anybody there?\n"),
    ),
    Sample(
        "full",
        "ivo@club.example",
        ("full@sandbox.test", "lea@example.com"),
        "To a full mailbox, and one that has room",
        _make_plain_mail("full@sandbox.test", "To a full mailbox, and one that has room", "Is there room?\n"),
    ),
    Sample(
        "blocked",
        "ivo@club.example",
        ("blocked@sandbox.test",),
        "To a server that has us on a list",
        _make_plain_mail("blocked@sandbox.test", "To a server that has us on a list", "Please?\n"),
    ),
    Sample(
        "later",
        "ivo@club.example",
        ("later@sandbox.test",),
        "To a server that says later",
        _make_plain_mail("later@sandbox.test", "To a server that says later", "No hurry.\n"),
    ),
)

SCRIPT = (
    RecipientAction("newsletter", "open", "Apple's prefetch, before Ada has looked", _APPLE),
    RecipientAction("newsletter", "open", "Ada, on her phone", _IPHONE),
    RecipientAction("newsletter", "click", "Ada, on her phone", _IPHONE, links=2),
    RecipientAction("newsletter", "open", "Ben, through Gmail's image proxy", _GMAIL, recipient=1),
    RecipientAction("newsletter", "open", "Cleo, in Firefox", _FIREFOX, recipient=2),
    RecipientAction("newsletter", "open", "Cleo looks again", _FIREFOX, recipient=2),
    RecipientAction("newsletter", "unsubscribe", "Cleo, one click in her mail program", _FIREFOX, recipient=2),
    RecipientAction("receipt", "open", "Ida, through Gmail's image proxy", _GMAIL),
    RecipientAction("receipt", "click", "Ida, in Firefox", _FIREFOX),
    RecipientAction("reset", "click", "a security scanner follows every link", _SCANNER, links=9),
)
