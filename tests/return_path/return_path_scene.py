"""A relay with a return path, and the mail that the world sends back to it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from relay.store.console import accounts
from tests.upstream import Arrival, ScriptedUpstream
from tests.waypost_server import Waypost, html_mail

DOMAIN = "bounces.example.com"
APP = "app@sender.test"


@dataclass
class ReturnPathScene:
    """A relay whose return path is open to everybody, and which relays for nobody but an account."""

    relay: Waypost
    upstream: ScriptedUpstream

    def sent(self, recipient: str, octets: bytes = b"", sender: str = APP) -> Arrival:
        """A mail of the app's, as it arrived."""
        with self.relay.client() as app:
            app.login("app", "secret")
            app.sendmail(sender, [recipient], octets or html_mail())
        return self.upstream.to(recipient)[-1]

    def comes(self, to: str, octets: bytes, sender: str = "") -> str:
        """Mail from somewhere in the world. Returns the last reply."""
        with self.relay.client() as world:
            world.ehlo()
            code, text = world.mail(sender)
            if code == 250:
                code, text = world.rcpt(to)
            if code == 250:
                code, text = world.data(octets)
            return f"{code} {text.decode()}"

    @property
    def arrived(self) -> int:
        """How many mails have come to the upstream for anybody but the app, which is told what became of its own."""
        return sum(APP not in one.recipients for one in self.upstream.arrivals)

    def delivery(self, recipient: str) -> dict[str, Any]:
        [message] = self.relay.rows("messages", "--query", recipient)
        delivery: dict[str, Any]
        [delivery] = message["deliveries"]
        return delivery

    def suppressed(self, recipient: str) -> list[dict[str, Any]]:
        return self.relay.rows("suppressions", "list", recipient)


@pytest.fixture(scope="module")
def scene(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReturnPathScene]:
    tables = (
        f'[bounces]\nreturn_path = "{DOMAIN}"\n[inbound]\nmailgun = "key"\n[access]\nnetworks = []\n'
        f'[[access.user]]\nname = "app"\npassword_hash = "{accounts.hash_password("secret")}"\n'
    )
    folder: Path = tmp_path_factory.mktemp("returns")
    with Waypost(folder, upstream.port, tables.replace("[access]", '[delivery]\nretry = ["1s"]\n[access]')) as relay:
        yield ReturnPathScene(relay, upstream)


def reverse_path(arrival: Arrival) -> str:
    return arrival.mail.partition("<")[2].partition(">")[0]


def dsn(recipient: str, status: str, text: str, action: str = "failed", returned: bytes = b"") -> bytes:
    return (
        (
            "From: MAILER-DAEMON@mx.example\r\nSubject: Undelivered Mail\r\nMIME-Version: 1.0\r\n"
            'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
            "--b\r\n\r\nIt did not arrive.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n"
            f"Reporting-MTA: dns; mx.example\r\n\r\nFinal-Recipient: rfc822; {recipient}\r\nAction: {action}\r\n"
            f"Status: {status}\r\nRemote-MTA: dns; mx.far.example\r\nDiagnostic-Code: smtp; {text}\r\n\r\n"
            "--b\r\nContent-Type: message/rfc822\r\n\r\n"
        ).encode()
        + (returned or b"Subject: x\r\n\r\nx\r\n")
        + b"\r\n--b--\r\n"
    )


def arf(feedback: str, returned: bytes) -> bytes:
    return (
        (
            "From: fbl@mail.example\r\nTo: abuse@example.com\r\nSubject: complaint\r\nMIME-Version: 1.0\r\n"
            'Content-Type: multipart/report; report-type=feedback-report; boundary="b"\r\n\r\n'
            "--b\r\n\r\nThis is an abuse report.\r\n--b\r\nContent-Type: message/feedback-report\r\n\r\n"
            f"Feedback-Type: {feedback}\r\nUser-Agent: x/1\r\nVersion: 1\r\n\r\n"
            "--b\r\nContent-Type: message/rfc822\r\n\r\n"
        ).encode()
        + returned
        + b"\r\n--b--\r\n"
    )


DEAD = "550 5.1.1 <x>: user unknown"
