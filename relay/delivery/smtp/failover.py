"""Several upstreams: which one gets a mail, and which one takes over when it is down.

In: a mail.  Out: a result for each of its recipients, from the first upstream that serves the mail's reverse-path and
can be reached.
"""

from collections.abc import Sequence
from datetime import datetime

from relay.bounce.classify import Phase
from relay.config import smtp
from relay.delivery.smtp.attempt_result import AttemptResult
from relay.delivery.smtp.negotiation import OutgoingMail
from relay.delivery.smtp.upstream import Upstream, UpstreamBusyError, UpstreamStatus
from relay.envelope import Login
from relay.reply import Reply


class Upstreams:
    """All upstreams, in the order of the configuration."""

    def __init__(self, settings: Sequence[smtp.UpstreamConfig], hostname: str, processes: int = 1) -> None:
        self._upstreams = [Upstream(one, hostname, processes) for one in settings]

    def statuses(self) -> list[UpstreamStatus]:
        """The state of each, in the order of the configuration."""
        return [upstream.status for upstream in self._upstreams]

    def apply_peer_report(self, name: str, processes: int, outages: Sequence[tuple[str, datetime]]) -> None:
        """What all processes on this database say of an upstream: how many send to it, and why and since when others
        found it out."""
        for upstream in self._upstreams:
            if upstream.name == name:
                upstream.share_rate(processes)
                for fault, since in outages:
                    upstream.apply_peer_outage(fault, since)

    @property
    def is_down(self) -> bool:
        """True while every upstream is down."""
        return all(upstream.is_down for upstream in self._upstreams)

    async def send(self, mail: OutgoingMail) -> list[AttemptResult]:
        """Sends the mail to the first upstream that serves its reverse-path. The next ones take over the recipients
        for which it gave no answer because it is down or closing."""
        unserved = Reply(0, "", "no [[upstream]] serves this reverse-path (senders)")
        results = [AttemptResult(Phase.CONNECT, unserved)] * len(mail.recipients)
        left = list(range(len(results)))
        for upstream in self._upstreams:
            if not left or not upstream.serves(mail.sender or mail.reverse_path):
                continue
            try:
                some = len(left) < len(results)
                attempt = await upstream.send(
                    mail._replace(recipients=[mail.recipients[n] for n in left]) if some else mail
                )
            except UpstreamBusyError as busy:
                for n in left:  # it is up and gets its mail later, so that no other upstream is needed
                    results[n] = AttemptResult(Phase.CONNECT, Reply(0, "", f"put off: {busy}"), upstream.name)
                break
            for n, result in zip(left, attempt, strict=True):
                results[n] = result
            left = [n for n in left if results[n].is_outage or results[n].reply.closes_connection]
        return results

    async def try_login(self, login: Login, reverse_path: str = "") -> Reply:
        """The upstream's reply to these credentials: 235, or its refusal; 454 of ours while it cannot be asked.

        The first upstream that serves the reverse-path is asked, the next ones only while it cannot be.
        """
        reason = "no [[upstream]] serves this reverse-path"
        for upstream in self._upstreams:
            if not upstream.serves(reverse_path):
                continue
            try:
                result = await upstream.try_login(login)
            except UpstreamBusyError as busy:
                reason = str(busy)
                continue
            reply, reason = result.reply, f"{result.phase}: {result.reply.text}"
            if result.phase is Phase.AUTH and (reply.accepts or 400 <= reply.code < 600):
                return reply if reply.status else reply._replace(status=f"{reply.code // 100}.7.0")
        return Reply(454, "4.7.0", f"the credentials cannot be checked now; try again later ({reason})")

    async def close(self) -> None:
        for upstream in self._upstreams:
            await upstream.close()
