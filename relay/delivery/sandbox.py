"""The sandbox: without an `[[upstream]]` mail is kept and sent nowhere.

Every recipient is accepted, except at the domain `sandbox.test`: there the local part chooses the reply, so that
bounces can be tried: `bounce@`, `full@`, `blocked@`, `later@`.
"""

from relay import address
from relay.bounce.classify import Phase
from relay.delivery.smtp.attempt_result import AttemptResult
from relay.delivery.smtp.negotiation import OutgoingMail
from relay.reply import Reply

NAME = "sandbox"
DOMAIN = "sandbox.test"  # RFC 6761 §6.2: .test is nobody's

_SCRIPTED_REPLIES = {
    "bounce": (Phase.RCPT, Reply(550, "5.1.1", "user unknown (played by the sandbox)")),
    "full": (Phase.RCPT, Reply(552, "5.2.2", "mailbox full (played by the sandbox)")),
    "blocked": (
        Phase.DOT,
        Reply(554, "5.7.1", "message refused by policy: sender is on a blocklist (played by the sandbox)"),
    ),
    "later": (Phase.RCPT, Reply(451, "4.7.1", "greylisted, try again later (played by the sandbox)")),
}
_ACCEPTED = Reply(250, "2.0.0", "kept in the sandbox, delivered to nobody")


class Sandbox:
    """Replaces the upstreams."""

    is_down = False

    async def send(self, mail: OutgoingMail) -> list[AttemptResult]:
        """A result for each recipient, in their order. The copy is made, as for a real upstream."""
        await mail.render(False)
        return [_result(recipient.mailbox) for recipient in mail.recipients]

    async def close(self) -> None:
        """Nothing is open."""


def _result(mailbox: str) -> AttemptResult:
    if address.domain(mailbox) == DOMAIN:
        local = mailbox.rpartition("@")[0].partition("+")[0].lower()
        if local in _SCRIPTED_REPLIES:
            return AttemptResult(*_SCRIPTED_REPLIES[local], NAME)
    return AttemptResult(Phase.DOT, _ACCEPTED, NAME)
