"""The result of an attempt for one recipient, from the transaction to the outcome."""

from typing import NamedTuple

from relay.bounce.classify import Phase
from relay.reply import Reply

_BEFORE_MAIL = (Phase.CONNECT, Phase.HELO, Phase.AUTH)


class AttemptResult(NamedTuple):
    """The reply that decided about a recipient, and in which phase it came.

    A reply of code 0 is no reply: its text says what happened. `upstream` and `took_ms` are filled in by the upstream;
    a transaction does not know them.
    """

    phase: Phase
    reply: Reply
    upstream: str = "none"
    took_ms: int = 0
    uncertain: bool = False  # everything was sent and no reply came: the mail may have arrived
    upstream_sends_dsn: bool = False  # the upstream offers DSN and reports success itself (RFC 3461)
    nothing_tried: bool = False  # the reason was known before, and no connection was made
    conversation: str = ""  # `relay.conversation`; of an attempt that did not deliver

    def from_upstream(self, name: str, took_ms: int) -> "AttemptResult":
        """The same, as the upstream of that name returns it."""
        phase, reply, _, _, uncertain, sends_dsn, nothing_tried, conversation = self
        return AttemptResult(phase, reply, name, took_ms, uncertain, sends_dsn, nothing_tried, conversation)

    @property
    def is_outage(self) -> bool:
        """True if no transaction was possible: a fault of the upstream, and not of the delivery."""
        return self.phase in _BEFORE_MAIL and not self.reply.accepts
