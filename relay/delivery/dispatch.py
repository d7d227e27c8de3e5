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
from relay.delivery.client_credentials import WAITS, Logins
from relay.delivery.memory_budget import Freight
from relay.delivery.schedule import Answer
from relay.delivery.smtp.negotiation import LeaseLostError, Outgoing
from relay.envelope import Recipient
from relay.reply import Reply
from relay.rewrite import dkim
from relay.rewrite.plan import Plan
from relay.store import errors
from relay.store.database.tables import Message, Status
from relay.store.queue.deliveries import Outcome
from relay.store.queue.long_urls import Rows
from relay.store.recipients import consent, suppressions
from relay.store.store import Store
from relay.tokens import Minter

MOST_TOGETHER = 50  # recipients of one transaction; RFC 5321 §4.5.3.1.8 has servers take 100
_OFF_LOOP = 1 << 15  # octets from which rendering goes to a thread,
_MANY_LINKS = 100  # and links: each is a token, and copies for many recipients are made right after one another


class Sender(Protocol):
    """Upstreams, or the sandbox."""

    @property
    def is_out(self) -> bool: ...

    async def send(self, mail: Outgoing) -> list[Answer]: ...

    async def close(self) -> None: ...


CheckLease = Callable[[str, Sequence[int]], Awaitable[None]]  # of a message's deliveries; raises LeaseLostError


class Stop(NamedTuple):
    """A recipient to be served: the delivery's number, the address, and the attempts so far."""

    number: int
    recipient: Recipient
    attempts: int = 0


Trip = asyncio.Task[list[Outcome]]


class Trips(NamedTuple):
    """Attempts that have begun: what is decided already, and a task for each trip under way."""

    decided: list[Outcome]
    under_way: list[Trip]

    def cancel(self) -> None:
        """Ends what is still under way."""
        for trip in self.under_way:
            trip.cancel()


class Load(NamedTuple):
    """A message on its way."""

    message: Message
    plan: Plan
    octets: bytes
    stored: Rows = ()  # what is to be filed with it: destinations that its links only refer to


class _Held(NamedTuple):
    suppressed: dict[str, str]
    untracked: set[str]


class Courier:
    """Makes attempts and says how they ended. Writes nothing down."""

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
        self.check_lease: CheckLease | None = None  # the runner's, which holds the leases
        self._now = now
        self._freight = Freight()  # the copies; their originals are whoever's that loaded them
        self._tracks = config.privacy.mode != "off"  # whatever an app says in its mail

    @property
    def is_out(self) -> bool:
        """True while there is nobody to hand mail to."""
        return self._sender.is_out

    async def depart(self, load: Load, stops: list[Stop], begun: asyncio.Event | None = None) -> Trips:
        """Begins one attempt for each stop. What each trip ends with can be written down when that one ends.

        `begun`: a client waits for the reply, and this is set before the first octet goes out."""
        held = await self._held(load.message, stops, is_awaited=begun is not None)
        tracks = self._tracks and load.plan.control.consent is not False
        decided: list[Outcome] = []
        going: dict[bool, list[Stop]] = {True: [], False: []}
        for stop in stops:
            who = address.canonical(stop.recipient.mailbox)
            reason = held.suppressed.get(who, "")
            if reason and load.plan.control.override:
                log.overridden(load.message.id, stop.number, reason)
            elif reason:
                log.suppressed(load.message.id, stop.number, reason)
                decided.append(
                    schedule.suppressed(
                        number=stop.number, recipient=stop.recipient.mailbox, now=self._now(), reason=reason
                    )
                )
                continue
            if load.message.expires_at <= self._now():
                expired = schedule.expired(number=stop.number, recipient=stop.recipient.mailbox, now=self._now())
                decided.append(self._owing(load, stop, expired))
            else:
                going[tracks and who not in held.untracked].append(stop)
        under_way: list[asyncio.Task[list[Outcome]]] = []
        for tracked, group in going.items():
            # Where the octets are equal one copy serves many; else each recipient has its own.
            is_own = load.plan.varies and self._config.privacy.tells_apart
            size = 1 if is_own or self._config.bounces.return_path else MOST_TOGETHER
            for at in range(0, len(group), size):
                under_way.append(asyncio.create_task(self._trip(load, group[at : at + size], tracked, begun)))
        return Trips(decided, under_way)

    async def _held(self, message: Message, stops: list[Stop], *, is_awaited: bool) -> _Held:
        """Who is left out or left untracked. With the database away mail flows on: nobody, or where `consent` is
        asked for, nobody is tracked. What is in the queue has time: it waits for a database that hangs."""
        mailboxes = [stop.recipient.mailbox for stop in stops]
        exempt = self._config.unsubscribe.is_exempt(message.stream)

        def look(session: sa.Connection) -> _Held:
            return _Held(
                suppressions.find(session, mailboxes, message.stream, self._now(), exempt=exempt),
                consent.untracked(session, mailboxes),
            )

        try:
            return await (self._store.read_in_time(look) if is_awaited else self._store.read(look))
        except TimeoutError:
            pass
        except sa.exc.SQLAlchemyError as error:
            errors.log_failure(error, "suppressions", message.id)
        asks = self._config.privacy.consent == "asked"
        return _Held({}, {address.canonical(mailbox) for mailbox in mailboxes} if asks else set())

    async def _trip(self, load: Load, stops: list[Stop], tracked: bool, begun: asyncio.Event | None) -> list[Outcome]:
        message = load.message

        async def render(seven_bit: bool) -> bytes:
            is_much = len(load.octets) > _OFF_LOOP or len(load.plan.links) > _MANY_LINKS
            if is_much or load.plan.dkim:  # an RSA signature takes about a millisecond
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._rendering, self._render, load, stops[0], tracked, seven_bit)
            return self._render(load, stops[0], tracked, seven_bit)

        mail = Outgoing(
            reverse_path=self._reverse_path(message, stops),
            sender=message.reverse_path,
            recipients=[stop.recipient for stop in stops],
            render=render,
            body=message.body,
            smtputf8=message.smtputf8,
            ret=message.ret,
            envid=message.envid,
            begin=self._beginning(message.id, [stop.number for stop in stops], begun),
        )
        try:
            async with self._freight.aboard(len(load.octets)):
                answers = await self._send(mail, message.login)
        except LeaseLostError:
            log.lease_lost(message.id, len(stops))
            return []
        except Exception:  # noqa: BLE001  a fault of ours delays one trip; the others are not its business
            log.fault("courier", message.id)
            answers = [Answer("none", Phase.CONNECT, Reply(0, "", "internal fault"), 0)] * len(stops)
        # After RCPT a reply speaks of all recipients at once: it proves no single address dead.
        shared = len(stops) > 1
        return [
            self._conclude(load, stop, answer, tracked, shared and answer.phase is not Phase.RCPT)
            for stop, answer in zip(stops, answers, strict=True)
        ]

    def _conclude(self, load: Load, stop: Stop, answer: Answer, tracked: bool, is_shared: bool) -> Outcome:
        """What the answer comes to. A fault of ours makes a refusal temporary, and undoes nobody's delivery."""
        outcome = schedule.undecided(
            self._config.delivery,
            answer,
            number=stop.number,
            recipient=stop.recipient.mailbox,
            attempts_before=stop.attempts,
            now=self._now(),
            tracked=tracked,
        )
        try:
            outcome = self._outcome(load.message, stop, answer, tracked, is_shared)
            tells = answer.tells and not self._config.bounces.return_path  # else it tells us, and not the app
            return self._owing(load, stop, outcome, tells=tells)
        except Exception:  # noqa: BLE001  one recipient's; the others are not its business
            log.fault("outcome", load.message.id)
            return outcome

    def _beginning(
        self, message: str, numbers: list[int], begun: asyncio.Event | None
    ) -> Callable[[], Awaitable[None]]:
        async def begin() -> None:
            if self.check_lease is not None:
                await self.check_lease(message, numbers)
            if begun is not None:
                begun.set()

        return begin

    def _reverse_path(self, message: Message, stops: list[Stop]) -> str:
        """The app's own, or one under which bounces of this very delivery come back. The null one stays null."""
        domain = self._config.bounces.return_path
        if not domain or not message.reverse_path:
            return message.reverse_path
        return self._minter.reverse_path(domain, message.id, stops[0].number)

    async def _send(self, mail: Outgoing, user: str) -> list[Answer]:
        """With the user's own credentials, where the mail is one's that has some."""
        if not user or self._logins is None:
            return await self._sender.send(mail)
        login = self._logins.of(user)
        if login is None:
            return [Answer("none", Phase.AUTH, WAITS, 0, is_known=True)] * len(mail.recipients)
        answers = await self._sender.send(mail._replace(login=login))
        if any(answer.phase is Phase.AUTH and answer.reply.is_permanent for answer in answers):
            self._logins.forget(login)
        return answers

    def _render(self, load: Load, stop: Stop, tracked: bool, seven_bit: bool) -> bytes:
        mint = self._minter.urls_of(load.message.id, stop.number)

        def sign(octets: bytes, domain: str) -> bytes:
            try:
                return self._signer.at(load.message.accepted_at)(octets, domain)
            except Exception as error:
                if not isinstance(error, dkim.NoKeyError):
                    log.fault("dkim", load.message.id)
                log.not_signed(load.message.id, domain, type(error).__name__)
                raise

        return load.plan.render(load.octets, mint, tracked=tracked, sign=sign, seven_bit=seven_bit)

    def _owing(self, load: Load, stop: Stop, outcome: Outcome, *, tells: bool = False) -> Outcome:
        """The outcome, with what the reverse-path is to be told of it."""
        settings, accepted_at = self._config.delivery, load.message.accepted_at
        owes = dsn_sender.owed(settings, stop.recipient.notify, accepted_at, outcome, tells=tells)
        if owes and message_rows.takes_notices(load.message.reverse_path, load.octets):
            return outcome._replace(owes=owes)
        return outcome

    def _outcome(self, message: Message, stop: Stop, answer: Answer, tracked: bool, is_shared: bool) -> Outcome:
        outcome = schedule.outcome(
            self._config.delivery,
            answer,
            number=stop.number,
            recipient=stop.recipient.mailbox,
            attempts_before=stop.attempts,
            expires_at=message.expires_at,
            now=self._now(),
            jitter=random.random(),  # noqa: S311  not a secret
            suppress_hard=self._config.bounces.suppress_hard and not is_shared,
            tracked=tracked,
        )
        if outcome.status is Status.DELIVERED:
            log.delivered(message.id, stop.number, answer.upstream, answer.took_ms)
        else:
            reply = answer.reply
            log.failed(
                message.id,
                stop.number,
                answer.upstream,
                answer.phase,
                reply.code,
                reply.status,
                outcome.status,
                reason=reply.own_words,
                uncertain=answer.uncertain,
            )
        return outcome
