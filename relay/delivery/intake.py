"""From an accepted message to the client's reply: what 250 means.

inline: the first attempt is made while the client waits, and the upstream's reply becomes its reply. A message with a
soft failure is durable before the client gets 250. queued: 250 only after the commit of the whole message.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import ParamSpec, TypeVar

import sqlalchemy as sa

from relay import log, metrics, telemetry, timed_wait
from relay.address import Mailbox
from relay.config.schema import Config
from relay.delivery import client_reply, message_rows
from relay.delivery.attempts import Attempts, AttemptTask, LoadedMessage, PendingRecipient, SendingMark
from relay.delivery.dispatch import Dispatcher
from relay.delivery.lease_renewal import LEASE
from relay.delivery.queue_worker import QueueWorker
from relay.delivery.rewrite_settings import RewriteSettings
from relay.envelope import AcceptedMessage, Client, Envelope
from relay.mime import parts
from relay.reply import RefusedError, Reply, refusal
from relay.rewrite import plan as planning
from relay.rewrite.plan import Plan
from relay.store import retention
from relay.store.database import errors
from relay.store.queue.long_urls import MAX_LONG_URLS, LongUrlRows
from relay.store.queue.queue_facts import NewMessage, Outcome
from relay.store.recipients import consent, suppressions
from relay.store.recipients.consent import ConsentChange
from relay.store.store import Store
from relay.tokens import KeyRing

P = ParamSpec("P")
T = TypeVar("T")
_OFF_LOOP = 1 << 15  # octets of mail from which computations go to a thread: the worst take 3 s a megabyte
_MANY_EDITS = 100  # from which a plan is written down in a thread: 31,000 take 0.1 s
_MAX_BACKGROUND_OCTETS = 64 << 20  # octets of mail whose client has its reply while the first attempt goes on
_CANNOT_STORE = (451, "4.3.0", "the message cannot be stored now; please try again later")

HangUp = asyncio.Future[None] | None  # done when the client no longer waits


class Intake:
    """Accepts messages, one call of `accept_message` each."""

    def __init__(
        self, config: Config, store: Store, dispatcher: Dispatcher, worker: QueueWorker, ring: KeyRing
    ) -> None:
        self._config = config
        self._store = store
        self._dispatcher = dispatcher
        self._worker = worker
        self._ring = ring
        self._rewrite_settings = RewriteSettings(config, only_crlf=True)  # as the edge has it
        self._inline_timeout_s = config.delivery.inline_timeout.total_seconds()
        self._running: set[asyncio.Task[object]] = set()
        self._background_octets = 0

    async def accept_message(self, accepted: AcceptedMessage) -> Reply:
        """The reply to the client's dot. Raises RefusedError."""
        if task := asyncio.current_task():
            self._keep_running(task)
        log.add_to_lines(message=accepted.id)
        plan, long_urls = await self._plan(accepted)
        if plan.control.override and not self._config.access.may_override(accepted.client.user):
            plan = replace(plan, control=replace(plan.control, override=False))
        self._check_stream(plan.control.stream, accepted.client)
        if "too_deep" in plan.reasons:  # the next server would refuse it
            raise refusal(554, "5.6.0", f"MIME parts are nested more than {parts.MAX_DEPTH} deep")
        has_many_edits = len(plan.templates) > _MANY_EDITS
        message = await _run_off_loop(has_many_edits, message_rows.message_row, self._config, accepted, plan)
        loaded = LoadedMessage(message, plan, accepted.octets, long_urls)
        recipients = accepted.envelope.recipients
        await self._record_consent(plan.control.consent, accepted)
        targets = [PendingRecipient(number, recipient) for number, recipient in enumerate(recipients)]
        is_inline = (
            self._config.delivery.mode == "inline"
            and len(recipients) <= self._config.delivery.inline_recipients
            # With an upstream that hangs, memory would fill with mail whose clients have their reply.
            and self._background_octets + len(accepted.octets) <= _MAX_BACKGROUND_OCTETS
        )
        log.accepted(accepted.id, len(recipients), len(accepted.octets), "inline" if is_inline else "queued")
        metrics.message_accepted(message.stream, len(accepted.octets))
        for reason in plan.reasons:
            metrics.left_untouched(reason)
        accept = self._attempt_at_once if is_inline else self._queue
        return await accept(loaded, targets, accepted.hung_up)

    def _check_stream(self, stream: str, client: Client) -> None:
        """Raises RefusedError for a stream that the client may not use.

        Mail of an exempt stream reaches people who have unsubscribed, and with another account's stream a client could
        evade an unsubscribe.
        """
        is_exempt = self._config.unsubscribe.is_exempt(stream)
        if stream and not self._config.access.may_name(client.user, stream, is_exempt=is_exempt):
            raise refusal(550, "5.7.1", f'this client may not send as stream "{stream[:80]}" (streams)')

    async def _plan(self, accepted: AcceptedMessage) -> tuple[Plan, LongUrlRows]:
        """The plan, and the long URLs that its links only refer to; they are on disk when this returns. A link whose
        URL cannot be stored is left as it was."""
        settings, is_large = self._rewrite_settings.for_message(accepted), len(accepted.octets) > _OFF_LOOP
        with telemetry.span("rewrite"):
            plan = await _run_off_loop(is_large, planning.plan, accepted.octets, settings, accepted.head)
        for trace in plan.faults:
            log.fault_trace("plan", accepted.id, trace)
        if not plan.destinations:
            return plan, ()
        if len(plan.destinations) <= MAX_LONG_URLS:
            urls = {self._ring.reference_for(url): url for url in plan.destinations}
            try:
                return plan, await asyncio.to_thread(self._store.long_url_files.save, urls)
            except OSError as error:
                log.long_links_untracked(accepted.id, str(error))
        without_storing = settings._replace(may_store_urls=False)
        return await _run_off_loop(is_large, planning.plan, accepted.octets, without_storing, accepted.head), ()

    async def check_recipient(self, mailbox: Mailbox, client: Client, envelope: Envelope) -> None:
        """Raises RefusedError for a recipient that is suppressed for all mail or for the credential's stream, where
        `suppressed = "reject"`."""
        if self._config.bounces.suppressed != "reject" or self._config.access.may_override(client.user):
            return  # the message itself decides whether it overrides, and it is still to come
        # The stream too, where the credential has none: then only suppressions for all mail count here.
        stream = envelope.stream or None
        exempt = stream is None or self._config.unsubscribe.is_exempt(stream)
        now = datetime.now(UTC)
        try:
            suppressed = await self._store.read_in_time(
                lambda connection: suppressions.find_suppressed(connection, [mailbox], stream, now, exempt=exempt)
            )
        except TimeoutError:
            return
        except sa.exc.SQLAlchemyError as error:
            errors.log_failure(error, "admit")
            return
        for reason in suppressed.values():
            raise refusal(550, "5.7.1", f"this recipient is suppressed ({reason})")

    async def _record_consent(self, has_consent: bool | None, accepted: AcceptedMessage) -> None:
        """Records the consent that the app declares for its recipients."""
        if has_consent is None:
            return
        mailboxes = [str(one.mailbox) for one in accepted.envelope.recipients]
        try:
            await self._store.record("consent", ConsentChange(mailboxes, accepted.at, has_consent, consent.HEADER))
        except OSError as error:
            log.fact_lost("consent", errors.describe_error(error))

    async def _queue(self, loaded: LoadedMessage, targets: list[PendingRecipient], hung_up: HangUp) -> Reply:
        new_message = self._new_message_fact(loaded, targets, [], due=loaded.message.accepted_at)
        goes_at_once = self._worker.has_room(loaded.message.stream, len(targets), len(loaded.octets))
        if goes_at_once:
            self._lease(new_message)
        await self._commit(new_message, hung_up)
        if goes_at_once:
            self._worker.deliver(loaded, new_message.deliveries)
        else:
            self._worker.wake()
        return Reply(250, "2.0.0", f"queued as {loaded.message.id}")

    async def _attempt_at_once(self, loaded: LoadedMessage, targets: list[PendingRecipient], hung_up: HangUp) -> Reply:
        sending = SendingMark()
        attempts = await self._dispatcher.start_attempts(loaded, targets, sending)
        outcomes = list(attempts.outcomes)
        pending = await self._wait(attempts, sending, hung_up) if attempts.tasks else []
        for task in attempts.tasks:
            if task in pending:
                continue
            if task.cancelled():
                raise client_reply.refuse_abandoned(loaded.message.id)
            outcomes += task.result()
        if len(outcomes) > 1:
            outcomes.sort(key=lambda outcome: outcome.number)
        if pending:
            return await self._continue_in_background(loaded, targets, outcomes, Attempts([], pending))
        reply = client_reply.reply_to_dot(loaded.message.id, outcomes)
        if not reply.accepts:  # the client gets the failure as its reply, so that no DSN is due
            outcomes = [outcome._replace(dsn_due="") for outcome in outcomes]
        are_open = [outcome.status.is_open for outcome in outcomes]
        if False not in are_open:
            # Nobody has received it: it must be durable in the database before 250, or the client keeps it.
            await self._commit(self._new_message_fact(loaded, targets, outcomes), hung_up)
        else:
            await self._record(self._new_message_fact(loaded, targets, outcomes), must_hold=True in are_open)
        return reply

    async def _wait(self, attempts: Attempts, sending: SendingMark, hung_up: HangUp) -> list[AttemptTask]:
        """Until all have ended or the client has waited long enough: those that have not ended. If the client hangs up
        before an octet has been sent, all are cancelled."""

        def cancel(_: object) -> None:
            if not sending.is_set:
                attempts.cancel()

        if hung_up:
            hung_up.add_done_callback(cancel)
        try:
            if len(attempts.tasks) == 1:
                await timed_wait.wait_any(self._inline_timeout_s, *attempts.tasks)
            else:
                await asyncio.wait(attempts.tasks, timeout=self._inline_timeout_s)
            return [task for task in attempts.tasks if not task.done()]
        except asyncio.CancelledError:
            attempts.cancel()  # the client has no reply, and keeps the mail
            raise
        finally:
            if hung_up:
                hung_up.remove_done_callback(cancel)

    async def _continue_in_background(
        self, loaded: LoadedMessage, targets: list[PendingRecipient], outcomes: list[Outcome], attempts: Attempts
    ) -> Reply:
        """The client has waited long enough. The attempts go on under a lease, so that none is made twice."""
        new_message = self._new_message_fact(loaded, targets, outcomes, due=loaded.message.accepted_at)
        numbers = {target.number for target in targets} - {outcome.number for outcome in outcomes}
        self._lease(new_message)
        try:
            await self._record(new_message, must_hold=True)
        except RefusedError:
            attempts.cancel()
            raise
        self._keep_running(asyncio.ensure_future(self._finish_in_background(loaded, attempts, numbers)))
        return Reply(250, "2.0.0", f"accepted as {loaded.message.id}; the upstream is slow, delivery goes on")

    def _lease(self, new_message: NewMessage) -> None:
        until = datetime.now(UTC) + LEASE
        stream = new_message.message.stream
        for row in new_message.deliveries:
            # Each of them set by itself would be eight calls of pydantic.
            row.__dict__.update(stream=stream, leased_by=self._worker.name, leased_until=until)

    async def _finish_in_background(self, loaded: LoadedMessage, attempts: Attempts, numbers: set[int]) -> None:
        self._background_octets += len(loaded.octets)
        try:
            with self._worker.lease_renewal.renew_meanwhile(loaded.message.id, numbers):
                await self._worker.record_attempts(loaded.message.id, attempts)
        finally:
            self._background_octets -= len(loaded.octets)

    async def _commit(self, new_message: NewMessage, hung_up: HangUp) -> None:
        """Makes the message durable in the database.

        Raises RefusedError with 451 if that fails or takes too long, or if the client hangs up meanwhile. Then the
        message is not sent, whatever the database does later.
        """
        message = new_message.message.id
        try:
            await self._store.commit_fact(
                "new_message",
                await self._store.save_large_octets(new_message),
                undo=lambda connection: retention.drop_refused_message(connection, message, self._worker.name),
                unless=hung_up,
            )
        except TimeoutError as error:
            if hung_up and hung_up.done():
                raise client_reply.refuse_abandoned(message) from error
            log.not_stored(message, "slow")
            raise refusal(*_CANNOT_STORE) from error
        except sa.exc.SQLAlchemyError as error:
            if not errors.is_database_fault(error):
                log.fault("new_message", message)
            log.not_stored(message, errors.describe_error(error))
            raise refusal(*_CANNOT_STORE) from error

    async def _record(self, new_message: NewMessage, *, must_hold: bool) -> None:
        """Records a message that somebody has received already: in the database, or else in the journal.

        `must_hold`: something is still to be done, so its octets go to the journal too, and if that fails as well the
        client gets 451. Otherwise a failure here is logged, and the client's reply stays.
        """
        keeps_octets = must_hold or self._config.is_sandbox or any(outcome.dsn_due for outcome in new_message.outcomes)
        new_message = await self._store.save_large_octets(new_message)
        try:
            journaled = new_message if keeps_octets else new_message._replace(octets=None)
            await self._store.record("new_message", new_message, journaled=journaled, raises_faults=must_hold)
        except Exception as error:
            if not errors.is_database_fault(error):
                log.fault("new_message", new_message.message.id)
            log.fact_lost("new_message", errors.describe_error(error))
            if must_hold:
                raise refusal(*_CANNOT_STORE) from error

    def _new_message_fact(
        self,
        loaded: LoadedMessage,
        targets: list[PendingRecipient],
        outcomes: list[Outcome],
        due: datetime | None = None,
    ) -> NewMessage:
        message = loaded.message
        is_settled = due is None and not any(outcome.status.is_open or outcome.dsn_due for outcome in outcomes)
        keeps_octets = bool(self._config.privacy.keep_content) or not is_settled
        rows = [message_rows.delivery_row(message.id, target.number, target.recipient, due) for target in targets]
        return NewMessage(message, loaded.octets if keeps_octets else None, rows, outcomes, loaded.long_urls)

    def _keep_running(self, task: "asyncio.Task[object]") -> None:
        # The event loop itself keeps no task alive.
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def drain(self, limit_s: float) -> None:
        """Waits for messages under way, and cancels those that take longer: they are durable under a lease."""
        if self._running:
            _, lasting = await asyncio.wait(set(self._running), timeout=limit_s)
            for task in lasting:
                task.cancel()
            await asyncio.gather(*lasting, return_exceptions=True)


async def _run_off_loop(is_much: bool, compute: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
    """The function's result, computed on a thread if it is much work."""
    if is_much:
        return await asyncio.to_thread(compute, *arguments, **keywords)
    return compute(*arguments, **keywords)
