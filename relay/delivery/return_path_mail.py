"""Mail for the return path: bounces, complaints and unsubscribes settle the delivery that their token names.

In: a mail to `[bounces] return_path`.  Out: a commit, then 250. Whatever address a report names, its token decides,
and one without a token that we made changes nothing. Nothing here is relayed or answered.
"""

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from relay import clients, ids, log, return_path, tokens
from relay.address import Mailbox
from relay.bounce import arf, recipient_report
from relay.bounce.recipient_report import Failure
from relay.bounce.report import Report, ReportKind
from relay.config.schema import Config
from relay.delivery import report_process
from relay.delivery.report_process import Reading
from relay.delivery.report_reader import MAX_WAITING, BusyReaderError, ReportReader, UnreadableReportError
from relay.edits import Kind
from relay.envelope import Accepted, Client
from relay.reply import Refused, Reply, refused
from relay.return_path import NotOurs, Purpose, Return
from relay.store import errors
from relay.store.database.tables import EventType
from relay.store.queue import late_reports
from relay.store.queue.deliveries import Try
from relay.store.queue.late_reports import Tiding
from relay.store.store import Store
from relay.store.tracking.hits import Hit, NotKnownYet

# RFC 5321 §4.5.1 and RFC 2142: where feedback loops and postmasters send what has no token in its address. It is
# taken only if there is one inside.
_ROLES = frozenset({"postmaster", "abuse", "fbl"})
# Feedback by which people leave a list, and do not complain of it (RFC 5965 §7.3).
_LEAVING = frozenset({"opt-out", "opt-out-list", "opt-out-all", "unsubscribe"})
_SPARE = timedelta(days=7)  # a token outlives its message's row by that: what comes then is known, and unknown
MAX_WAITING_OF_ONE = MAX_WAITING // 2  # reports of one network: others find places too
_BOUNCES = (ReportKind.DSN, ReportKind.TEXT)


class _Word(NamedTuple):
    """What a report comes to."""

    type: EventType
    said: Failure | None
    reasons: tuple[str, ...] = ()


class Returns:
    """Reads what comes back. Its methods are the edge's `Reports`."""

    def __init__(
        self,
        config: Config,
        store: Store,
        ring: tokens.KeyRing,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._config = config
        self._store = store
        self._ring = ring
        self._domain = config.bounces.return_path
        self._now = now
        self._reader = ReportReader(self._domain, config.tracking.public_url)
        self._spent_ms = clients.reading_ms()
        self._reading: Counter[str] = Counter()  # reports under way, by network

    @property
    def _secret(self) -> bytes:
        return self._ring.secret_for(return_path.PURPOSE)  # another one once its key is revoked

    async def close(self) -> None:
        """Ends what reads."""
        await self._reader.close()

    def expects(self, mailbox: Mailbox, stranger: Client | None = None) -> bool:
        """True for an address of the return path's domain that takes mail. Raises Refused for its others, and for a
        stranger whose network has had what is spent on it in an hour: its reports wait there."""
        if not return_path.is_at(self._domain, mailbox):
            return False
        if stranger and self._spent_ms.is_over(stranger.ip, time.monotonic()):
            raise refused(451, "4.7.0", "too many reports from your network, please try again later")
        if _local_part(mailbox) not in _ROLES:
            self._read(mailbox)
        return True

    async def _read_report(self, accepted: Accepted) -> Reading:
        """What the mail says, at its sender's cost. Raises Refused."""
        ip = accepted.client.ip
        network = clients.networks(ip)[0]
        if self._reading[network] >= MAX_WAITING_OF_ONE:
            raise refused(451, "4.7.0", "too many reports from your network at once, please try again later")
        self._reading[network] += 1
        took_ms = report_process.MAX_CPU_S * 1000
        try:
            reading = await self._reader.read(accepted.octets)
            took_ms = reading.took_ms
        except BusyReaderError as error:
            took_ms = 0
            raise _not_read() from error
        except UnreadableReportError as error:
            raise _not_read() from error
        finally:
            self._reading[network] -= 1
            if not self._reading[network]:
                del self._reading[network]
            self._spent_ms.count(ip, time.monotonic(), took_ms)
        return reading

    async def take(self, accepted: Accepted) -> Reply:
        """The reply to the dot, once what the mail says is durable. Raises Refused."""
        mailbox = accepted.envelope.recipients[0].mailbox
        told = None if _local_part(mailbox) in _ROLES else self._read(mailbox)
        reading = await self._read_report(accepted)
        read = reading.report
        if told is None:
            told = self._found(reading)
            # The links of a mail are in every copy of it: they may complain, but only its return path may bounce.
            is_bounce = told is not None and told.purpose is Purpose.BOUNCE and read.kind in _BOUNCES
            if told is None or not (is_bounce or read.kind is ReportKind.ARF):
                raise refused(550, "5.7.1", "only reports on mail of ours are read here, and this is none")
        elif told.purpose is Purpose.UNSUBSCRIBE:
            return await self._unsubscribe(told, read, accepted)
        word = _word(read)
        if word is None:
            log.not_told(told.message, told.number, read.kind)
            return Reply(250, "2.0.0", "read")
        await self._settle(_tiding(told, word, self._now(), self._config))
        return Reply(250, "2.0.0", "read")

    def _read(self, mailbox: Mailbox) -> Return:
        """The delivery that the address is of. Raises Refused; what is forged or too old is unknown like any other."""
        try:
            told = return_path.read(self._secret, _local_part(mailbox))
        except NotOurs:
            raise refused(550, "5.1.1", "no such mailbox here") from None
        if self._now() - ids.time_of(told.message) > self._config.privacy.keep_events + _SPARE:
            raise refused(550, "5.1.1", "no such mailbox here any more")
        return told

    def _found(self, reading: Reading) -> Return | None:
        """The delivery of which a token stands in the returned mail: its reverse-path, or a link of ours."""
        if told := return_path.first_authentic(self._secret, reading.local_parts):
            return told
        for kind, written in reading.links:
            try:
                token = self._ring.read(Kind(kind), written)
            except tokens.BadToken:
                continue
            if token.recipient != tokens.EVERYBODY:
                return Return(Purpose.UNSUBSCRIBE, token.message, token.recipient)
        return None

    async def _unsubscribe(self, told: Return, read: Report, accepted: Accepted) -> Reply:
        """As POST /u/ does. A machine's answer is nobody's wish: neither a bounce nor an automatic reply counts."""
        if not accepted.envelope.reverse_path or read.kind is not ReportKind.NONE:
            log.not_told(told.message, told.number, read.kind)
            return Reply(250, "2.0.0", "read")
        now = self._now()
        hit = Hit(ids.new(now), EventType.UNSUBSCRIBED, now, told.message, told.number, "human", reasons=("mailto",))
        try:
            await self._store.keep("hit", hit)
        except OSError as error:
            log.lost("hit", errors.describe(error))
            raise _not_now() from error
        log.told(told.message, told.number, hit.type, "mailto", True)
        return Reply(250, "2.0.0", "you are unsubscribed")

    async def _settle(self, tiding: Tiding) -> None:
        try:
            is_new = await self._store.writer.write_in_time(lambda session: late_reports.settle(session, tiding))
        except TimeoutError as error:
            log.not_stored(tiding.message, "slow")
            raise _not_now() from error
        except (sa.exc.SQLAlchemyError, NotKnownYet) as error:  # whoever reports it tries again
            if not errors.is_database_fault(error) and not isinstance(error, NotKnownYet):
                log.fault("report", tiding.message)
            log.not_stored(tiding.message, errors.describe(error))
            raise _not_now() from error
        log.told(tiding.message, tiding.number, tiding.type, tiding.tried.upstream, is_new)


def _word(read: Report) -> _Word | None:
    """What the report comes to; None if it is no news of a delivery."""
    if read.kind is ReportKind.ARF:
        said = next(iter(read.failures), None)
        if read.feedback in _LEAVING:
            return _Word(EventType.UNSUBSCRIBED, said, (read.feedback,))
        return _Word(EventType.COMPLAINED, said, (read.feedback,)) if read.feedback in arf.UNWANTED else None
    for action, type_ in ((recipient_report.FAILED, EventType.BOUNCED), (recipient_report.DELAYED, EventType.DEFERRED)):
        said = next((one for one in read.failures if one.action == action), None)
        if said is not None:
            return _Word(type_, said, (said.verdict.category, "report"))
    return None


def _tiding(told: Return, word: _Word, now: datetime, config: Config) -> Tiding:
    said = word.said
    tried = Try(
        upstream=(said.remote if said else "") or "report",
        phase=late_reports.PHASE,
        code=said.code if said else 0,
        status=said.status if said else "",
        text=(said.words if said else "") or f"a report says so: {word.reasons[0]}",
        took_ms=0,
    )
    tiding = Tiding(
        ids.new(now),
        word.type,
        now,
        told.message,
        told.number,
        tried,
        reasons=word.reasons,
        tells=config.delivery.notices,
    )
    if said is None or word.type is not EventType.BOUNCED:
        return tiding
    return late_reports.failed(tiding, said.verdict, suppress_hard=config.bounces.suppress_hard)


def _local_part(mailbox: Mailbox) -> str:
    return mailbox.rpartition("@")[0].lower()


def _not_read() -> Refused:
    return refused(451, "4.3.0", "this cannot be read now; please try again later")


def _not_now() -> Refused:
    return refused(451, "4.3.0", "this cannot be written down now; please try again later")
