"""Start the attempts of a message: who is left out, who gets the same octets, and the outcome of each attempt."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from relay import address, log, metrics
from relay.bounce.classify import Phase
from relay.config.schema import Config
from relay.delivery import dsn_sender, outcomes, recipient_filter, schedule
from relay.delivery.attempts import Attempts, AttemptTask, LoadedMessage, PendingRecipient, SendingMark
from relay.delivery.client_credentials import WAITING_FOR_LOGIN, Logins
from relay.delivery.copies import CopyRenderer
from relay.delivery.memory_budget import MemoryBudget
from relay.delivery.smtp.attempt_result import AttemptResult
from relay.delivery.smtp.negotiation import LeaseLostError, OutgoingMail
from relay.reply import Reply
from relay.store.database.rows import Message
from relay.store.database.tables import Status
from relay.store.queue.queue_facts import Outcome
from relay.store.store import Store
from relay.tokens import Minter

MAX_RECIPIENTS = 50  # recipients of one transaction; RFC 5321 §4.5.3.1.8 has servers take 100


class Sender(Protocol):
    """Upstreams, or the sandbox."""

    @property
    def is_down(self) -> bool: ...

    async def send(self, mail: OutgoingMail) -> list[AttemptResult]: ...

    async def close(self) -> None: ...


CheckLease = Callable[[str, Sequence[int]], Awaitable[None]]  # of a message's deliveries; raises LeaseLostError


class Dispatcher:
    """Makes attempts and returns their outcomes. It writes nothing to the store."""

    def __init__(
        self,
        config: Config,
        store: Store,
        sender: Sender,
        minter: Minter,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        logins: Logins | None = None,
    ) -> None:
        self._config = config
        self._logins = logins
        self._store = store
        self._sender = sender
        self._minter = minter
        self._copies = CopyRenderer(config, minter)
        self.check_lease: CheckLease | None = None  # the queue worker's, which holds the leases
        self._now = now
        self._memory_budget = MemoryBudget()  # for the copies; who loaded an original accounts for it
        self._tracks = config.privacy.mode != "off"  # whatever an app says in its mail

    @property
    def is_down(self) -> bool:
        """True while no upstream can be reached."""
        return self._sender.is_down

    async def start_attempts(
        self, loaded: LoadedMessage, targets: list[PendingRecipient], sending: SendingMark | None = None
    ) -> Attempts:
        """Starts the attempts for these recipients. The outcomes of each task can be recorded when that task ends.

        `sending`: a client waits for the reply, and this is set before the first octet goes out."""
        mailboxes = [target.recipient.mailbox for target in targets]
        found = await recipient_filter.find(
            self._store, self._config, loaded.message, mailboxes, self._now(), is_awaited=sending is not None
        )
        now = self._now()
        tracks = self._tracks and loaded.plan.control.consent is not False
        without_attempt: list[Outcome] = []
        to_send: dict[bool, list[PendingRecipient]] = {True: [], False: []}
        for target in targets:
            who = address.canonical(target.recipient.mailbox)
            if outcome := self._outcome_without_attempt(loaded, target, found.suppressed.get(who, ""), now):
                without_attempt.append(outcome)
            else:
                to_send[tracks and who not in found.untracked].append(target)
        tasks: list[AttemptTask] = []
        for tracked, group in to_send.items():
            if not group:
                continue
            # Where the octets are equal one copy serves many; else each recipient has its own.
            is_own = loaded.plan.differs_by_recipient and self._config.privacy.has_recipient_tokens
            size = 1 if is_own or self._config.bounces.return_path else MAX_RECIPIENTS
            for at in range(0, len(group), size):
                tasks.append(asyncio.create_task(self._attempt(loaded, group[at : at + size], tracked, sending)))
        return Attempts(without_attempt, tasks)

    def _outcome_without_attempt(
        self, loaded: LoadedMessage, target: PendingRecipient, suppression: str, now: datetime
    ) -> Outcome | None:
        """The outcome of a delivery that is suppressed or expired; None if it is to be attempted."""
        message, number, mailbox = loaded.message, target.number, target.recipient.mailbox
        if suppression and loaded.plan.control.override:
            log.suppression_overridden(message.id, number, suppression)
        elif suppression:
            log.suppressed(message.id, number, suppression)
            metrics.delivery_attempted(Status.SUPPRESSED, "suppressed", "")
            return outcomes.make_suppressed(number=number, recipient=mailbox, now=now, reason=suppression)
        if message.expires_at <= now:
            metrics.delivery_attempted(Status.EXPIRED, "expired", "")
            expired = outcomes.make_expired(number=number, recipient=mailbox, now=now)
            return self._with_dsn_due(message, target, expired)
        return None

    async def _attempt(
        self, loaded: LoadedMessage, targets: list[PendingRecipient], tracked: bool, sending: SendingMark | None
    ) -> list[Outcome]:
        message = loaded.message
        log.add_to_lines(message=message.id)
        mail = OutgoingMail(
            reverse_path=self._reverse_path(message, targets),
            sender=message.reverse_path,
            recipients=[target.recipient for target in targets],
            render=partial(self._copies.render, loaded, targets[0], tracked),
            body=message.body,
            smtputf8=message.smtputf8,
            ret=message.ret,
            envid=message.envid,
            before_sending=self._before_sending(message.id, [target.number for target in targets], sending),
        )
        try:
            if self._memory_budget.counts(len(loaded.octets)):
                async with self._memory_budget.reserve(len(loaded.octets)):
                    results = await self._send(mail, message.login)
            else:
                results = await self._send(mail, message.login)
        except LeaseLostError:
            log.lease_lost(message.id, len(targets))
            return []
        except Exception:  # noqa: BLE001  a fault of ours delays one attempt, and no other
            log.fault("dispatch", message.id)
            results = [AttemptResult(Phase.CONNECT, Reply(0, "", "internal fault"))] * len(targets)
        # After RCPT a reply is about all recipients together: it proves nothing about a single address.
        is_shared = len(targets) > 1
        return [
            self._outcome(message, target, result, tracked, is_shared and result.phase is not Phase.RCPT)
            for target, result in zip(targets, results, strict=True)
        ]

    def _outcome(
        self, message: Message, target: PendingRecipient, result: AttemptResult, tracked: bool, is_shared: bool
    ) -> Outcome:
        """The outcome of a result. A fault of ours makes a refusal temporary, and undoes no delivery."""
        now, outcome = self._now(), None
        try:
            decision = schedule.decide(
                self._config.delivery,
                result,
                attempts_before=target.attempts,
                expires_at=message.expires_at,
                now=now,
                jitter=random.random(),  # noqa: S311  not a secret
                suppress_hard=self._config.bounces.suppress_hard and not is_shared,
            )
            outcome = self._make_outcome(decision, result, target, now, tracked)
            _log_outcome(message.id, outcome, result)
            # With a return path the upstream sends the DSN to us, and not to the app.
            sends_dsn = result.upstream_sends_dsn and not self._config.bounces.return_path
            return self._with_dsn_due(message, target, outcome, upstream_sends_dsn=sends_dsn)
        except Exception:  # noqa: BLE001  of one recipient; it must not affect the others
            log.fault("outcome", message.id)
            if outcome is not None:
                return outcome
            decision = schedule.decide_without_verdict(
                self._config.delivery, result, attempts_before=target.attempts, now=now
            )
            return self._make_outcome(decision, result, target, now, tracked)

    @staticmethod
    def _make_outcome(
        decision: schedule.Decision, result: AttemptResult, target: PendingRecipient, now: datetime, tracked: bool
    ) -> Outcome:
        number, mailbox = target.number, target.recipient.mailbox
        return outcomes.make_from_attempt(decision, result, number=number, recipient=mailbox, now=now, tracked=tracked)

    def _before_sending(
        self, message: str, numbers: list[int], sending: SendingMark | None
    ) -> Callable[[], Awaitable[None]]:
        async def before_sending() -> None:
            if self.check_lease is not None:
                await self.check_lease(message, numbers)
            if sending is not None:
                sending.is_set = True

        return before_sending

    def _reverse_path(self, message: Message, targets: list[PendingRecipient]) -> str:
        """The app's own, or one to which the bounces of this delivery come back. The null one stays null."""
        domain = self._config.bounces.return_path
        if not domain or not message.reverse_path:
            return message.reverse_path
        return self._minter.reverse_path(domain, message.id, targets[0].number)

    async def _send(self, mail: OutgoingMail, user: str) -> list[AttemptResult]:
        """Sends the mail, with the user's own credentials if `[access] auth = "upstream"`."""
        if not user or self._logins is None:
            return await self._sender.send(mail)
        login = self._logins.get(user)
        if login is None:
            return [AttemptResult(Phase.AUTH, WAITING_FOR_LOGIN, nothing_tried=True)] * len(mail.recipients)
        results = await self._sender.send(mail._replace(login=login))
        if any(result.phase is Phase.AUTH and result.reply.is_permanent for result in results):
            self._logins.forget(login)
        return results

    def _with_dsn_due(
        self, message: Message, target: PendingRecipient, outcome: Outcome, *, upstream_sends_dsn: bool = False
    ) -> Outcome:
        """The outcome, with the DSN that it makes due."""
        due = dsn_sender.due_action(
            self._config.delivery,
            target.recipient.notify,
            message.accepted_at,
            outcome,
            upstream_sends_dsn=upstream_sends_dsn,
        )
        return outcome._replace(dsn_due=due) if due and message.accepts_dsn and message.reverse_path else outcome


def _log_outcome(message: str, outcome: Outcome, result: AttemptResult) -> None:
    metrics.delivery_attempted(outcome.status, outcome.category, result.upstream)
    if result.reply.code:
        metrics.upstream_replied(result.upstream, result.took_ms)
    if outcome.status is Status.DELIVERED:
        log.delivered(message, outcome.number, result.upstream, result.took_ms)
        return
    reply = result.reply
    log.failed(
        message,
        outcome.number,
        result.upstream,
        result.phase,
        reply.code,
        reply.status,
        outcome.status,
        reason=reply.reason_without_reply,
        uncertain=result.uncertain,
    )
