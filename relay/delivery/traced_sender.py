"""A sender with a span around each mail that it sends (`relay.telemetry`)."""

from relay import telemetry
from relay.delivery.dispatch import Sender
from relay.delivery.smtp.attempt_result import AttemptResult
from relay.delivery.smtp.negotiation import OutgoingMail


class TracedSender:
    """Takes the place of the sender."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    @property
    def is_down(self) -> bool:
        return self._sender.is_down

    async def send(self, mail: OutgoingMail) -> list[AttemptResult]:
        """As the sender does."""
        with telemetry.span("deliver") as span:
            results = await self._sender.send(mail)
            if span is not None:
                span.set_attribute("waypost.recipients", len(results))
                span.set_attribute("waypost.upstream", results[0].upstream)
                span.set_attribute("waypost.phase", str(results[0].phase))
                span.set_attribute("smtp.response.code", max(result.reply.code for result in results))
            return results

    async def close(self) -> None:
        await self._sender.close()
