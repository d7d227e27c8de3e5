"""From an accepted message to the client's reply: what 250 means.  DESIGN §4.

inline: the first attempt is made while the client waits, and the upstream's reply becomes its reply.
What fails softly is durable before 250 is said. queued: 250 only after one commit of it all.
"""

import asyncio
from datetime import UTC, datetime

import sqlalchemy as sa

from relay import log
from relay.address import Mailbox
from relay.config.schema import Config
from relay.delivery import dossier
from relay.delivery.courier import Courier, Load, Stop
from relay.delivery.runner import LEASE, Runner
from relay.envelope import Accepted
from relay.reply import Refused, Reply, refused
from relay.rewrite import plan as planning
from relay.store import queue, suppressions
from relay.store.queue import Filing, Outcome
from relay.store.store import Settled, Store
from relay.store.tables import Status

_OFF_LOOP = 1 << 17  # octets from which planning goes to a thread
_NOTHING_IS_SAFE = (451, "4.3.0", "the message cannot be stored now; please try again later")


class Intake:
    """Takes responsibility for messages, one call of `take` each."""

    def __init__(self, config: Config, store: Store, courier: Courier, runner: Runner) -> None:
        self._config = config
        self._store = store
        self._courier = courier
        self._runner = runner
        self._running: set[asyncio.Task[object]] = set()

    async def take(self, accepted: Accepted) -> Reply:
        """The reply to the client's dot. Raises Refused."""
        if task := asyncio.current_task():
            self._hold(task)
        settings = dossier.settings(self._config, accepted)
        if len(accepted.octets) > _OFF_LOOP:
            plan = await asyncio.to_thread(planning.plan, accepted.octets, settings)
        else:
            plan = planning.plan(accepted.octets, settings)
        load = Load(dossier.message(self._config, accepted, plan), plan, accepted.octets)
        recipients = accepted.envelope.recipients
        stops = [Stop(number, recipient) for number, recipient in enumerate(recipients)]
        is_inline = (
            self._config.delivery.mode == "inline" and len(recipients) <= self._config.delivery.inline_recipients
        )
        log.accepted(accepted.id, len(recipients), len(accepted.octets), "inline" if is_inline else "queued")
        return await (self._inline(load, stops) if is_inline else self._queued(load, stops))

    async def admit(self, mailbox: Mailbox) -> None:
        """Raises Refused for a recipient that is suppressed for all mail, where `suppressed = "reject"`."""
        if self._config.bounces.suppressed != "reject":
            return
        now = datetime.now(UTC)
        try:
            # The stream stands in the message, which is still to come: only what holds for all mail counts here.
            held = await self._store.read(lambda session: suppressions.find(session, [mailbox], "", now, exempt=True))
        except sa.exc.SQLAlchemyError as error:
            log.unreadable(type(error).__name__)
            return
        for reason in held.values():
            raise refused(550, "5.7.1", f"this recipient is suppressed ({reason})")

    async def _queued(self, load: Load, stops: list[Stop]) -> Reply:
        await self._file(load, stops, [], due=load.message.accepted_at)
        self._runner.wake()
        return Reply(250, "2.0.0", f"queued as {load.message.id}")

    async def _inline(self, load: Load, stops: list[Stop]) -> Reply:
        attempt = asyncio.ensure_future(self._courier.attempt(load, stops))
        done, _ = await asyncio.wait({attempt}, timeout=self._config.delivery.inline_timeout.total_seconds())
        if not done:
            return await self._go_on_alone(load, stops, attempt)
        outcomes = attempt.result()
        if any(outcome.status.is_open for outcome in outcomes):
            # Durable before 250: from now on the retry is ours.
            await self._file(load, stops, outcomes)
        else:
            await self._note(load, stops, outcomes)
        return _reply(load.message.id, outcomes)

    async def _go_on_alone(self, load: Load, stops: list[Stop], attempt: "asyncio.Future[list[Outcome]]") -> Reply:
        """The client has waited long enough. The attempt goes on under a lease, so that it is not made twice."""
        try:
            await self._file(load, stops, [], due=load.message.accepted_at, is_leased=True)
        except Refused:
            attempt.cancel()
            raise
        self._hold(asyncio.ensure_future(self._settle_later(load.message.id, attempt)))
        return Reply(250, "2.0.0", f"accepted as {load.message.id}; the upstream is slow, delivery goes on")

    async def _settle_later(self, message: str, attempt: "asyncio.Future[list[Outcome]]") -> None:
        await self._store.keep("settled", Settled(message, await attempt))

    async def _file(
        self,
        load: Load,
        stops: list[Stop],
        outcomes: list[Outcome],
        *,
        due: datetime | None = None,
        is_leased: bool = False,
    ) -> None:
        """Commits the message with its octets. Raises Refused with 451 if that fails."""
        filing = self._filing(load, stops, outcomes, due, load.octets)
        if is_leased:
            for row in filing.deliveries:
                row.leased_by, row.leased_until = self._runner.name, datetime.now(UTC) + LEASE
        try:
            await self._store.write(lambda session: queue.file(session, filing))
        except sa.exc.SQLAlchemyError as error:
            log.not_stored(load.message.id, type(error).__name__)
            raise refused(*_NOTHING_IS_SAFE) from error

    async def _note(self, load: Load, stops: list[Stop], outcomes: list[Outcome]) -> None:
        """Writes down a message that is settled already. The mail has gone: whatever happens, the client hears so."""
        octets = load.octets if self._config.privacy.keep_content else None
        filing = self._filing(load, stops, outcomes, None, octets)
        try:
            # The journal takes the facts alone: the octets have arrived where they were to go.
            await self._store.keep("filing", filing, journaled=filing._replace(octets=None))
        except OSError as full:
            log.lost("filing", str(full))

    def _filing(
        self, load: Load, stops: list[Stop], outcomes: list[Outcome], due: datetime | None, octets: bytes | None
    ) -> Filing:
        message = load.message
        rows = [dossier.delivery(message.id, stop.number, stop.recipient, due) for stop in stops]
        return Filing(message, octets, rows, outcomes)

    def _hold(self, task: "asyncio.Task[object]") -> None:
        # The event loop itself keeps no task alive.
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def drain(self, at_most_s: float) -> None:
        """Waits for what has been taken on."""
        if self._running:
            await asyncio.wait(set(self._running), timeout=at_most_s)


def _reply(message: str, outcomes: list[Outcome]) -> Reply:
    """What the client hears. Mixed outcomes are 250: the refused ones are written down."""
    if all(outcome.status is Status.BOUNCED for outcome in outcomes):
        tried = outcomes[0].tried
        assert tried is not None
        return Reply(tried.code, tried.status, tried.text)
    delivered = [outcome.tried for outcome in outcomes if outcome.status is Status.DELIVERED]
    if delivered and len(delivered) == len(outcomes) and (tried := delivered[-1]):
        return Reply(tried.code, tried.status, tried.text)
    return Reply(250, "2.0.0", f"accepted as {message}")
