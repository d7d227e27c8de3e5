"""The two SMTP conversations of a message: its client's with us, and ours with the upstream.

In: what is kept of a message.  Out: lines for its page. Of an attempt that did not deliver, the lines are those that
were said. All others are put together from the envelope and the reply, which are kept anyway: their times are those of
the events.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from relay.config.schema import Config
from relay.config.smtp import UpstreamConfig
from relay.conversation import Direction
from relay.store.queue.attempts import AttemptDetail
from relay.store.views.message_detail import DeliveryDetail, MessageDetail

_MAX_RECIPIENTS = 10
_TLS_WORDS = {"off": "without TLS", "starttls": "with STARTTLS", "implicit": "with TLS from the beginning"}
_PROTOCOL = re.compile(r"(?P<smtp>E?SMTP)(?P<tls>S?)(?P<auth>A?)")
_SENT, _RECEIVED, _NOTE = "sent", "received", "note"
_KINDS = {Direction.SENT: _SENT, Direction.RECEIVED: _RECEIVED, Direction.NOTE: _NOTE}


class ShownLine(NamedTuple):
    """A line. Its time is after the beginning (`after`), or of the day (`at`), or not known. `kind`: sent (towards the
    recipient), received or note."""

    kind: str
    text: str
    after: str = ""
    at: datetime | None = None


class ShownConversation(NamedTuple):
    lines: list[ShownLine]
    is_verbatim: bool  # False: put together from what is kept


class ConversationReader:
    """What the page of a message shows of its conversations."""

    def __init__(self, config: Config) -> None:
        self._upstreams: Mapping[str, UpstreamConfig] = {one.name: one for one in config.upstream}
        self._return_path = config.bounces.return_path
        self._inline_timeout = config.delivery.inline_timeout
        self._is_queued = config.delivery.mode == "queued" and not config.is_sandbox

    def of_attempts(self, detail: MessageDetail, delivery: DeliveryDetail) -> list[ShownConversation | None]:
        """By attempt; None where nothing was said, or nothing is kept of it."""
        return [self._of_attempt(detail, delivery, attempt) for attempt in delivery.attempts]

    def _of_attempt(
        self, detail: MessageDetail, delivery: DeliveryDetail, attempt: AttemptDetail
    ) -> ShownConversation | None:
        if attempt.conversation:
            lines = [ShownLine(_KINDS[one.direction], one.text, f"{one.at_ms:,} ms") for one in attempt.conversation]
            return ShownConversation(lines, is_verbatim=True)
        upstream = self._upstreams.get(attempt.upstream)
        if upstream is None or attempt.phase != "dot" or not 200 <= attempt.code < 300:
            return None
        has_own_path = self._return_path and detail.reverse_path
        reverse_path = f"…@{self._return_path}" if has_own_path else detail.reverse_path
        mail = f"[the mail, from {detail.size_octets:,} octets, and the dot]"
        lines = [
            ShownLine(_NOTE, f"to {upstream.address} {_TLS_WORDS[upstream.tls]}, as it is configured now"),
            *_envelope(reverse_path, [delivery]),
            ShownLine(_SENT, mail),
            ShownLine(_RECEIVED, _reply_line(attempt), f"{attempt.took_ms:,} ms"),
        ]
        return ShownConversation(lines, is_verbatim=False)

    def of_client(self, detail: MessageDetail, helo: str) -> ShownConversation | None:
        """What our client said; None for a message that no client brought, such as one that was sent again."""
        *before, last = detail.client.split() or [""]
        protocol = _PROTOCOL.fullmatch(last)
        if protocol is None:
            return None
        ip, user = (before[0], " ".join(before[1:])) if before else ("", "")
        lines = [ShownLine(_NOTE, f"from {ip or 'an address that is not kept'}")]
        lines.append(ShownLine(_SENT, f"{'EHLO' if protocol['smtp'] == 'ESMTP' else 'HELO'} {helo or '…'}"))
        lines.append(ShownLine(_NOTE, "with TLS" if protocol["tls"] else "without TLS"))
        if protocol["auth"]:
            lines.append(ShownLine(_NOTE, f"signed in as {user}"))
        lines += _envelope(detail.reverse_path, detail.deliveries, detail.recipients)
        lines.append(ShownLine(_SENT, f"[the mail, {detail.size_octets:,} octets, and the dot]", at=detail.accepted_at))
        return ShownConversation([*lines, self._reply_to_client(detail)], is_verbatim=False)

    def _reply_to_client(self, detail: MessageDetail) -> ShownLine:
        """By `[delivery] mode`, as `relay.delivery.client_reply` decides it."""
        if self._is_queued:
            return ShownLine(_RECEIVED, f"250 2.0.0 queued as {detail.id}", at=detail.accepted_at)
        first = [one.attempts[0] for one in detail.deliveries if one.attempts]
        is_whole = len(first) == detail.recipients == len(detail.deliveries)
        at_once = is_whole and all(one.at - detail.accepted_at < self._inline_timeout for one in first)
        if at_once and (all(one.code >= 500 for one in first) or all(200 <= one.code < 300 for one in first)):
            passed_on = first[0] if first[0].code >= 500 else first[-1]
            reply = f"{_reply_line(passed_on)} (the upstream’s, passed on)"
            return ShownLine(_RECEIVED, reply, at=max(one.at for one in first))
        return ShownLine(_RECEIVED, f"250 2.0.0 accepted as {detail.id}", at=detail.accepted_at)


def _envelope(reverse_path: str, deliveries: Sequence[DeliveryDetail], recipients: int = 0) -> list[ShownLine]:
    shown = deliveries[:_MAX_RECIPIENTS]
    left_out = max(recipients, len(deliveries)) - len(shown)
    return [
        ShownLine(_SENT, f"MAIL FROM:<{reverse_path}>"),
        *(ShownLine(_SENT, f"RCPT TO:<{one.recipient or '…'}>") for one in shown),
        *([ShownLine(_NOTE, f"and RCPT for {left_out:,} more")] if left_out > 0 else []),
        ShownLine(_SENT, "DATA"),
    ]


def _reply_line(attempt: AttemptDetail) -> str:
    return " ".join(filter(None, (str(attempt.code), attempt.status, attempt.text.replace("\n", " "))))
