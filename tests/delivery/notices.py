"""The DSNs that have come back to a reverse-path, and what stands in them [RFC 3464]."""

import email
import email.policy
from email.message import EmailMessage

from tests.upstream import Arrival, ScriptedUpstream


def notices(upstream: ScriptedUpstream, to: str, count: int = 1) -> list[EmailMessage]:
    """The notices that have come to that reverse-path."""
    return [email.message_from_bytes(one.octets, policy=email.policy.default) for one in arrivals(upstream, to, count)]


def arrivals(upstream: ScriptedUpstream, to: str, count: int = 1) -> list[Arrival]:
    return upstream.wait_for(lambda one: one.mail.startswith("MAIL FROM:<>") and to in one.recipients, count)


def blocks(notice: EmailMessage) -> list[EmailMessage]:
    """The blocks of a notice's machine-readable part: of the message, then of each recipient."""
    [status] = [part for part in notice.walk() if part.get_content_type() == "message/delivery-status"]
    return status.get_payload()  # type: ignore[return-value]
