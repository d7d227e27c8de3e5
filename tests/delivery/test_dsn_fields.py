"""What stands in our own notices, whatever strangers' reports and webhooks put into them. *One value, one field.*"""

import asyncio
import re
from datetime import UTC, datetime
from email import message_from_bytes

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay import ids
from relay.address import Mailbox
from relay.config.schema import Config
from relay.delivery import dsn
from relay.delivery.attempts import LoadedMessage, PendingRecipient
from relay.delivery.copies import CopyRenderer
from relay.delivery.dsn import OriginalMail, RecipientStatus
from relay.delivery.smtp import negotiation, protocol
from relay.delivery.smtp.negotiation import OutgoingMail
from relay.envelope import Recipient
from relay.key_file import MasterKey
from relay.rewrite.edit_templates import EditTemplate
from relay.rewrite.plan import Plan
from relay.store.database.rows import Message
from relay.tokens import KeyRing, Minter

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FIELD = re.compile(r"^([!-9;-~]+):", re.MULTILINE)
BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
PIECES = ("\r", "\n", "\r\n", ": ", "\x85", "\u2028", "\0", "\ud800", "é", " ", "Action: failed", "\r\n.\r\n")
ANY = st.text(st.characters(), max_size=30) | st.lists(st.sampled_from(PIECES), max_size=6).map("".join)


@settings(max_examples=150, deadline=None)
@given(st.lists(ANY, min_size=9, max_size=9), st.booleans())
@example(["mx.evil\r\nX-Injected: yes\r\nFinal-Recipient: boss@shop.example"] * 9, False)
def test_no_text_ends_a_line_of_a_notice_or_adds_a_field(texts: list[str], is_international: bool) -> None:
    recipient, orcpt, status, remote, reply, reverse_path, subject, message_id, envid = texts
    fate = RecipientStatus(recipient, orcpt, dsn.FAILED, status, remote, reply, NOW)
    about = OriginalMail(reverse_path, message_id, subject, NOW, envid, is_international, b"Subject: x\r\n", None)
    octets = dsn.compose("01", "relay.example", NOW, about, [fate, fate])
    assert not BARE.search(octets)
    assert b"\r\n.\r\n" not in octets
    _, _compose_body, blocks, *rest = octets.split(b"\r\n--=_01")
    head, _, body = blocks.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    assert len(head.split(b"\r\n")) == 2
    first, *others = body.decode().rstrip("\r\n").split("\r\n\r\n")
    assert FIELD.findall(first) == ["Original-Envelope-Id"] * bool(envid) + ["Reporting-MTA", "Arrival-Date"]
    assert len(others) == 2
    for block in others:
        names = ["Original-Recipient"] * bool(orcpt) + ["Final-Recipient", "Action", "Status"]
        names += ["Remote-MTA"] * bool(remote) + ["Diagnostic-Code", "Last-Attempt-Date"]
        assert FIELD.findall(block) == names
    assert len(rest) == 2
    assert message_from_bytes(octets)["Subject"] == "Undelivered mail: returned to its sender"
    assert len(message_from_bytes(octets).keys()) in (8, 10)


class _Offers(protocol.SmtpClientProtocol):
    """An upstream that offers nothing."""

    def __init__(self) -> None:
        self.has_8bit = self.has_utf8 = self.has_size = self.has_dsn = False
        self.max_size = 0


@pytest.mark.parametrize("octets", [b"a\r\n\n.\r\nb\r\n", b"a\rb\r\n", b"a\n", b"\r\r\n", b"\n\r"])
def test_a_copy_with_a_bare_line_end_is_not_sent(octets: bytes) -> None:
    loaded = LoadedMessage(
        Message(id=ids.new(NOW), accepted_at=NOW, expires_at=NOW),
        Plan((EditTemplate(0, 4, (octets,), "above"),)),
        b"a\r\nb",
    )
    copies = CopyRenderer(Config(), Minter(KeyRing([MasterKey(1, NOW, bytes(32))]), "http://links.example"))

    async def render(seven_bit: bool) -> bytes:
        recipient = PendingRecipient(0, Recipient(Mailbox("ann@example.com")))
        return await copies.render(loaded, recipient, True, seven_bit)

    prepared = asyncio.run(
        negotiation.prepare(_Offers(), OutgoingMail("", [Recipient(Mailbox("ann@example.com"))], render))
    )
    assert prepared.octets == b""
    assert [reply and reply.code for reply in prepared.refused] == [451]
