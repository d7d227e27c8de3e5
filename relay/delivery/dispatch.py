"""One message to its recipients: who is left out, who gets the same octets, what came of each."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

import sqlalchemy as sa

from relay import address, log
from relay.bounce.classify import Phase
from relay.config.schema import Config
from relay.delivery import dsn_sender, message_rows, schedule
from relay.delivery.client_credentials import WAITING_FOR_LOGIN, Logins
from relay.delivery.memory_budget import MemoryBudget
from relay.delivery.schedule import Answer
from relay.delivery.smtp.negotiation import LeaseLostError, Outgoing
from relay.envelope import Recipient
from relay.reply import Reply
from relay.rewrite import dkim
from relay.rewrite.plan import Plan
from relay.store.database import errors
from relay.store.database.tables import Message, Status
from relay.store.queue.deliveries import Outcome
from relay.store.queue.long_urls import LongUrlRows
from relay.store.recipients import consent, suppressions
from relay.store.store import Store
from relay.tokens import Minter

MAX_RECIPIENTS = 50  # recipients of one transaction; RFC 5321 §4.5.3.1.8 has servers take 100
_OFF_LOOP = 1 << 15  # octets from which rendering goes to a thread,
_MANY_LINKS = 100  # and links: each is a token, and copies for many recipients are made right after one another


class Sender(Protocol):
    """Upstreams, or the sandbox."""

    @property
    def is_out(self) -> bool: ...

    async def send(self, mail: Outgoing) -> list[Answer]: ...

    async def close(self) -> None: ...


CheckLease = Callable[[str, Sequence[int]], Awaitable[None]]  # of a message's deliveries; raises LeaseLostError


class PendingRecipient(NamedTuple):
    """A recipient that an attempt is to reach: the delivery's number, the address, and the attempts so far."""

    number: int
    recipient: Recipient
    attempts: int = 0


AttemptTask = asyncio.Task[list[Outcome]]


class Attempts(NamedTuple):
    """Attempts that have begun: outcomes that are known already, and a task for each attempt under way."""

    decided: list[Outcome]
    under_way: list[AttemptTask]

    def cancel(self) -> None:
        """Ends what is still under way."""
        for task in self.under_way:
            task.cancel()


class LoadedMessage(NamedTuple):
    """A message with its plan and its octets in memory."""

    message: Message
    plan: Plan
    octets: bytes
    stored: LongUrlRows = ()  # what is to be filed with it: destinations that its links only refer to


class _LeftOut(NamedTuple):
    suppressed: dict[str, str]
    untracked: set[str]


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
        self._signer = dkim.Signer(config.dkim.key)
        # One: several would take the interpreter in turns, and the loop would wait for each of them.
        self._rendering = ThreadPoolExecutor(1, "render")
        self.check_lease: CheckLease | None = None  # the queue worker's, which holds the leases
        self._now = now
        self._memory_budget = MemoryBudget()  # for the copies; who loaded an original accounts for it
        self._tracks = config.privacy.mode != "off"  # whatever an app says in its mail

    @property
    def is_out(self) -> bool:
        """True while there is nobody to hand mail to."""
        return self._sender.is_out

    async def start_attempts(
        self, loaded: LoadedMessage, targets: list[PendingRecipient], begun: asyncio.Event | None = None
    ) -> Attempts:
        """Starts the attempts for these recipients. The outcomes of each task can be recorded when that task ends.

        `begun`: a client waits for the reply, and this is set before the first octet goes out."""
        left_out = await self._find_left_out(loaded.message, targets, is_awaited=begun is not None)
        tracks = self._tracks and loaded.plan.control.consent is not False
        decided: list[Outcome] = []
        to_send: dict[bool, list[PendingRecipient]] = {True: [], False: []}
        for target in targets:
            who = address.canonical(target.recipient.mailbox)
            reason = left_out.suppressed.get(who, "")
            if reason and loaded.plan.control.override:
                log.overridden(loaded.message.id, target.number, reason)
            elif reason:
                log.suppressed(loaded.message.id, target.number, reason)
                decided.append(
                    schedule.suppressed(
                        number=target.number, recipient=target.recipient.mailbox, now=self._now(), reason=reason
                    )
                )
                continue
            if loaded.message.expires_at <= self._now():
                expired = schedule.expired(number=target.number, recipient=target.recipient.mailbox, now=self._now())
                decided.append(self._with_dsn_due(loaded, target, expired))
            else:
                to_send[tracks and who not in left_out.untracked].append(target)
        under_way: list[asyncio.Task[list[Outcome]]] = []
        for tracked, group in to_send.items():
            # Where the octets are equal one copy serves many; else each recipient has its own.
            is_own = loaded.plan.differs_by_recipient and self._config.privacy.has_recipient_tokens
            size = 1 if is_own or self._config.bounces.return_path else MAX_RECIPIENTS
            for at in range(0, len(group), size):
                under_way.append(asyncio.create_task(self._attempt(loaded, group[at : at + size], tracked, begun)))
        return Attempts(decided, under_way)

    async def _find_left_out(self, message: Message, targets: list[PendingRecipient], *, is_awaited: bool) -> _LeftOut:
        """Who is left out or left untracked. With the database away mail flows on: nobody, or where `consent` is
        asked for, nobody is tracked. What is in the queue has time: it waits for a database that hangs."""
        mailboxes = [target.recipient.mailbox for target in targets]
        exempt = self._config.unsubscribe.is_exempt(message.stream)

        def look(connection: sa.Connection) -> _LeftOut:
            return _LeftOut(
                suppressions.find_suppressed(connection, mailboxes, message.stream, self._now(), exempt=exempt),
                consent.find_untracked(connection, mailboxes),
            )

        try:
            return await (self._store.read_in_time(look) if is_awaited else self._store.read(look))
        except TimeoutError:
            pass
        except sa.exc.SQLAlchemyError as error:
            errors.log_failure(error, "suppressions", message.id)
        asks = self._config.privacy.consent == "asked"
        return _LeftOut({}, {address.canonical(mailbox) for mailbox in mailboxes} if asks else set())

    async def _attempt(
        self, loaded: LoadedMessage, targets: list[PendingRecipient], tracked: bool, begun: asyncio.Event | None
    ) -> list[Outcome]:
        message = loaded.message

        async def render(seven_bit: bool) -> bytes:
            is_much = len(loaded.octets) > _OFF_LOOP or len(loaded.plan.links) > _MANY_LINKS
            if is_much or loaded.plan.dkim:  # an RSA signature takes about a millisecond
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._rendering, self._render, loaded, targets[0], tracked, seven_bit)
            return self._render(loaded, targets[0], tracked, seven_bit)

        mail = Outgoing(
            reverse_path=self._reverse_path(message, targets),
            sender=message.reverse_path,
            recipients=[target.recipient for target in targets],
            render=render,
            body=message.body,
            smtputf8=message.smtputf8,
            ret=message.ret,
            envid=message.envid,
            begin=self._begin_callback(message.id, [target.number for target in targets], begun),
        )
        try:
            async with self._memory_budget.reserve(len(loaded.octets)):
                answers = await self._send(mail, message.login)
        except LeaseLostError:
            log.lease_lost(message.id, len(targets))
            return []
        except Exception:  # noqa: BLE001  a fault of ours delays one attempt, and no other
            log.fault("courier", message.id)
            answers = [Answer("none", Phase.CONNECT, Reply(0, "", "internal fault"), 0)] * len(targets)
        # After RCPT a reply speaks of all recipients at once: it proves no single address dead.
        shared = len(targets) > 1
        return [
            self._conclude(loaded, target, answer, tracked, shared and answer.phase is not Phase.RCPT)
            for target, answer in zip(targets, answers, strict=True)
        ]

    def _conclude(
        self, loaded: LoadedMessage, target: PendingRecipient, answer: Answer, tracked: bool, is_shared: bool
    ) -> Outcome:
        """What the answer comes to. A fault of ours makes a refusal temporary, and undoes nobody's delivery."""
        outcome: Outcome | None = None
        try:
            outcome = self._decide(loaded.message, target, answer, tracked, is_shared)
            tells = answer.tells and not self._config.bounces.return_path  # else it tells us, and not the app
            return self._with_dsn_due(loaded, target, outcome, tells=tells)
        except Exception:  # noqa: BLE001  one recipient's; the others are not its business
            log.fault("outcome", loaded.message.id)
            return outcome or schedule.undecided(
                self._config.delivery,
                answer,
                number=target.number,
                recipient=target.recipient.mailbox,
                attempts_before=target.attempts,
                now=self._now(),
                tracked=tracked,
            )

    def _begin_callback(
        self, message: str, numbers: list[int], begun: asyncio.Event | None
    ) -> Callable[[], Awaitable[None]]:
        async def begin() -> None:
            if self.check_lease is not None:
                await self.check_lease(message, numbers)
            if begun is not None:
                begun.set()

        return begin

    def _reverse_path(self, message: Message, targets: list[PendingRecipient]) -> str:
        """The app's own, or one under which bounces of this very delivery come back. The null one stays null."""
        domain = self._config.bounces.return_path
        if not domain or not message.reverse_path:
            return message.reverse_path
        return self._minter.reverse_path(domain, message.id, targets[0].number)

    async def _send(self, mail: Outgoing, user: str) -> list[Answer]:
        """With the user's own credentials, where the mail is one's that has some."""
        if not user or self._logins is None:
            return await self._sender.send(mail)
        login = self._logins.get(user)
        if login is None:
            return [Answer("none", Phase.AUTH, WAITING_FOR_LOGIN, 0, is_known=True)] * len(mail.recipients)
        answers = await self._sender.send(mail._replace(login=login))
        if any(answer.phase is Phase.AUTH and answer.reply.is_permanent for answer in answers):
            self._logins.forget(login)
        return answers

    def _render(self, loaded: LoadedMessage, target: PendingRecipient, tracked: bool, seven_bit: bool) -> bytes:
        mint = self._minter.url_factory(loaded.message.id, target.number)

        def sign(octets: bytes, domain: str) -> bytes:
            try:
                return self._signer.at(loaded.message.accepted_at)(octets, domain)
            except Exception as error:
                if not isinstance(error, dkim.NoKeyError):
                    log.fault("dkim", loaded.message.id)
                log.not_signed(loaded.message.id, domain, type(error).__name__)
                raise

        return loaded.plan.render(loaded.octets, mint, tracked=tracked, sign=sign, seven_bit=seven_bit)

    def _with_dsn_due(
        self, loaded: LoadedMessage, target: PendingRecipient, outcome: Outcome, *, tells: bool = False
    ) -> Outcome:
        """The outcome, with what the reverse-path is to be told of it."""
        settings, accepted_at = self._config.delivery, loaded.message.accepted_at
        dsn_due = dsn_sender.due_action(settings, target.recipient.notify, accepted_at, outcome, tells=tells)
        if dsn_due and message_rows.accepts_dsn(loaded.message.reverse_path, loaded.octets):
            return outcome._replace(dsn_due=dsn_due)
        return outcome

    def _decide(
        self, message: Message, target: PendingRecipient, answer: Answer, tracked: bool, is_shared: bool
    ) -> Outcome:
        outcome = schedule.outcome(
            self._config.delivery,
            answer,
            number=target.number,
            recipient=target.recipient.mailbox,
            attempts_before=target.attempts,
            expires_at=message.expires_at,
            now=self._now(),
            jitter=random.random(),  # noqa: S311  not a secret
            suppress_hard=self._config.bounces.suppress_hard and not is_shared,
            tracked=tracked,
        )
        if outcome.status is Status.DELIVERED:
            log.delivered(message.id, target.number, answer.upstream, answer.took_ms)
        else:
            reply = answer.reply
            log.failed(
                message.id,
                target.number,
                answer.upstream,
                answer.phase,
                reply.code,
                reply.status,
                outcome.status,
                reason=reply.reason_without_reply,
                uncertain=answer.uncertain,
            )
        return outcome
