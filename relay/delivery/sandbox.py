"""The upstream that is none: where no `[[upstream]]` is configured, mail is kept and goes nowhere.

Every recipient is accepted, but for those of the domain `sandbox.test`, whose local part says which reply
to play, so that bounces can be seen without a real one: `bounce@`, `full@`, `blocked@`, `later@`.
"""

from relay import address
from relay.bounce.classify import Phase
from relay.delivery.schedule import Answer
from relay.delivery.smtp.negotiation import Outgoing
from relay.reply import Reply

NAME = "sandbox"
DOMAIN = "sandbox.test"  # RFC 6761 §6.2: .test is nobody's

_PLAYED = {
    "bounce": (Phase.RCPT, Reply(550, "5.1.1", "user unknown (played by the sandbox)")),
    "full": (Phase.RCPT, Reply(552, "5.2.2", "mailbox full (played by the sandbox)")),
    "blocked": (
        Phase.DOT,
        Reply(554, "5.7.1", "message refused by policy: sender is on a blocklist (played by the sandbox)"),
    ),
    "later": (Phase.RCPT, Reply(451, "4.7.1", "greylisted, try again later (played by the sandbox)")),
}
_KEPT = Reply(250, "2.0.0", "kept in the sandbox, delivered to nobody")


class Sandbox:
    """Stands where the upstreams stand."""

    is_out = False

    async def send(self, mail: Outgoing) -> list[Answer]:
        """An answer for each recipient, in their order. The copy is made, as it would be for a real one."""
        await mail.render(False)
        return [_answer(recipient.mailbox) for recipient in mail.recipients]

    async def close(self) -> None:
        """Nothing is open."""


def _answer(mailbox: str) -> Answer:
    if address.domain(mailbox) == DOMAIN:
        local = mailbox.rpartition("@")[0].partition("+")[0].lower()
        if local in _PLAYED:
            return Answer(NAME, *_PLAYED[local], took_ms=0)
    return Answer(NAME, Phase.DOT, _KEPT, 0)
