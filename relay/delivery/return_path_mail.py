"""Mail to the return path: bounces, complaints and unsubscribes change the delivery that their token identifies.

In: a mail to `[bounces] return_path`.  Out: a commit, then 250. The token decides, whatever address a report names;
a report without a token of ours changes nothing. Such mail is neither relayed nor answered.
"""

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from relay import clients, ids, log, metrics, return_path, tokens
from relay.address import Mailbox
from relay.bounce import arf, recipient_report
from relay.bounce.recipient_report import RecipientReport
from relay.bounce.report import Report, ReportKind
from relay.config.schema import Config
from relay.delivery import report_process
from relay.delivery.report_process import Reading
from relay.delivery.report_reader import MAX_WAITING, BusyReaderError, ReportReader, UnreadableReportError
from relay.edits import Kind
from relay.envelope import AcceptedMessage, Client
from relay.event_type import EventType
from relay.reply import RefusedError, Reply, refusal
from relay.return_path import NotOurAddressError, Purpose, ReturnToken
from relay.store.database import errors
from relay.store.database.delivery_rows import UnknownDeliveryError
from relay.store.queue import late_reports
from relay.store.queue.late_reports import LateReport
from relay.store.queue.queue_facts import AttemptRecord
from relay.store.store import Store
from relay.store.tracking.hit_facts import Hit

# RFC 5321 §4.5.1 and RFC 2142: where feedback loops and postmasters send what has no token in its address. It is
# accepted only if there is a token inside.
_ROLE_ADDRESSES = frozenset({"postmaster", "abuse", "fbl"})
# Feedback types that mean an unsubscribe and no complaint (RFC 5965 §7.3).
_UNSUBSCRIBE_FEEDBACK = frozenset({"opt-out", "opt-out-list", "opt-out-all", "unsubscribe"})
_GRACE = timedelta(
    days=7
)  # a token is accepted for that long after its message's row is deleted; such reports change nothing
MAX_WAITING_OF_ONE = MAX_WAITING // 2  # reports of one network, so that others are read too
_BOUNCES = (ReportKind.DSN, ReportKind.TEXT)


class _ReportMeaning(NamedTuple):
    """What a report means for a delivery."""

    type: EventType
    failure: RecipientReport | None
    reasons: tuple[str, ...] = ()


class ReturnPathMail:
    """Reads the mail that comes back. It is the edge's `ReturnPathHandler`."""

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
        self._reading_time = clients.report_reading_limit()
        self._under_way: Counter[str] = Counter()  # reports under way, by network

    @property
    def _secret(self) -> bytes:
        return self._ring.derive_secret(return_path.KEY_PURPOSE)  # it changes when its key is revoked

    async def close(self) -> None:
        """Ends the reading processes."""
        await self._reader.close()

    def takes_mail_for(self, mailbox: Mailbox, stranger: Client | None = None) -> bool:
        """True for an address of the return path's domain that accepts mail.

        Raises RefusedError for its other addresses, and for a stranger whose network has used up its reading time of
        this hour.
        """
        if not return_path.is_return_address(self._domain, mailbox):
            return False
        if stranger and self._reading_time.is_over(stranger.ip, time.monotonic()):
            raise refusal(451, "4.7.0", "too many reports from your network, please try again later")
        if _local_part(mailbox) not in _ROLE_ADDRESSES:
            self._read_token(mailbox)
        return True

    async def _read_report(self, accepted: AcceptedMessage) -> Reading:
        """Reads the mail, and counts the time for the sender's network. Raises RefusedError."""
        ip = accepted.client.ip
        network = clients.networks_of(ip)[0]
        if self._under_way[network] >= MAX_WAITING_OF_ONE:
            raise refusal(451, "4.7.0", "too many reports from your network at once, please try again later")
        self._under_way[network] += 1
        took_ms = report_process.MAX_CPU_S * 1000
        try:
            reading = await self._reader.read(accepted.octets)
            took_ms = reading.took_ms
        except BusyReaderError as error:
            took_ms = 0
            raise _cannot_read() from error
        except UnreadableReportError as error:
            raise _cannot_read() from error
        finally:
            self._under_way[network] -= 1
            if not self._under_way[network]:
                del self._under_way[network]
            self._reading_time.count(ip, time.monotonic(), took_ms)
        return reading

    async def accept_report(self, accepted: AcceptedMessage) -> Reply:
        """The reply to the dot, once the report is durable. Raises RefusedError."""
        mailbox = accepted.envelope.recipients[0].mailbox
        token = None if _local_part(mailbox) in _ROLE_ADDRESSES else self._read_token(mailbox)
        reading = await self._read_report(accepted)
        report = reading.report
        if token is None:
            token = self._find_token(reading)
            # Every copy of a mail has its links, so they prove a complaint only; a bounce needs the return path.
            is_bounce = token is not None and token.purpose is Purpose.BOUNCE and report.kind in _BOUNCES
            if token is None or not (is_bounce or report.kind is ReportKind.ARF):
                raise refusal(550, "5.7.1", "only reports on mail of ours are read here, and this is none")
        elif token.purpose is Purpose.UNSUBSCRIBE:
            return await self._unsubscribe(token, report, accepted)
        meaning = _report_meaning(report)
        if meaning is None:
            log.report_ignored(token.message, token.number, report.kind)
            return Reply(250, "2.0.0", "read")
        await self._apply_report(_late_report(token, meaning, self._now(), self._config))
        return Reply(250, "2.0.0", "read")

    def _read_token(self, mailbox: Mailbox) -> ReturnToken:
        """The delivery that the address belongs to.

        Raises RefusedError. A token that is forged or too old gets the reply of an unknown address.
        """
        try:
            token = return_path.parse_local_part(self._secret, _local_part(mailbox))
        except NotOurAddressError:
            raise refusal(550, "5.1.1", "no such mailbox here") from None
        if self._now() - ids.time_of(token.message) > self._config.privacy.keep_events + _GRACE:
            raise refusal(550, "5.1.1", "no such mailbox here any more")
        return token

    def _find_token(self, reading: Reading) -> ReturnToken | None:
        """The delivery whose token is in the returned mail: in its reverse-path, or in a tracking URL."""
        if found := return_path.find_authentic(self._secret, reading.local_parts):
            return found
        for kind, written in reading.links:
            try:
                token = self._ring.read_token(Kind(kind), written)
            except tokens.InvalidTokenError:
                continue
            if token.recipient != tokens.ANY_RECIPIENT:
                return ReturnToken(Purpose.UNSUBSCRIBE, token.message, token.recipient)
        return None

    async def _unsubscribe(self, token: ReturnToken, report: Report, accepted: AcceptedMessage) -> Reply:
        """Unsubscribes, as POST /u/ does. A bounce or an automatic reply does not count as a request."""
        if not accepted.envelope.reverse_path or report.kind is not ReportKind.NONE:
            log.report_ignored(token.message, token.number, report.kind)
            return Reply(250, "2.0.0", "read")
        now = self._now()
        hit = Hit(ids.new(now), EventType.UNSUBSCRIBED, now, token.message, token.number, "human", reasons=("mailto",))
        try:
            await self._store.record("hit", hit)
        except OSError as error:
            log.fact_lost("hit", errors.describe_error(error))
            raise _cannot_store() from error
        log.late_report(token.message, token.number, hit.type, "mailto", True)
        metrics.late_reports("mail", 1)
        return Reply(250, "2.0.0", "you are unsubscribed")

    async def _apply_report(self, report: LateReport) -> None:
        try:
            is_new = await self._store.writer.write_with_timeout(
                lambda connection: late_reports.apply_report(connection, report)
            )
        except TimeoutError as error:
            log.not_stored(report.message, "slow")
            raise _cannot_store() from error
        except (sa.exc.SQLAlchemyError, UnknownDeliveryError) as error:  # the reporting server tries again
            if not errors.is_database_fault(error) and not isinstance(error, UnknownDeliveryError):
                log.fault("report", report.message)
            log.not_stored(report.message, errors.describe_error(error))
            raise _cannot_store() from error
        log.late_report(report.message, report.number, report.type, report.attempt.upstream, is_new)
        metrics.late_reports("mail", int(is_new))


def _report_meaning(report: Report) -> _ReportMeaning | None:
    """What the report means for a delivery; None if it changes nothing."""
    if report.kind is ReportKind.ARF:
        failure = next(iter(report.recipients), None)
        if report.feedback in _UNSUBSCRIBE_FEEDBACK:
            return _ReportMeaning(EventType.UNSUBSCRIBED, failure, (report.feedback,))
        return (
            _ReportMeaning(EventType.COMPLAINED, failure, (report.feedback,))
            if report.feedback in arf.UNWANTED_FEEDBACK
            else None
        )
    for action, type_ in ((recipient_report.FAILED, EventType.BOUNCED), (recipient_report.DELAYED, EventType.DEFERRED)):
        failure = next((one for one in report.recipients if one.action == action), None)
        if failure is not None:
            return _ReportMeaning(type_, failure, (failure.verdict.category, "report"))
    return None


def _late_report(token: ReturnToken, meaning: _ReportMeaning, now: datetime, config: Config) -> LateReport:
    failure = meaning.failure
    tried = AttemptRecord(
        upstream=(failure.remote if failure else "") or "report",
        phase=late_reports.REPORT_PHASE,
        code=failure.code if failure else 0,
        status=failure.status if failure else "",
        text=(failure.text_without_code if failure else "") or f"a report says so: {meaning.reasons[0]}",
        took_ms=0,
    )
    late_report = LateReport(
        ids.new(now),
        meaning.type,
        now,
        token.message,
        token.number,
        tried,
        reasons=meaning.reasons,
        sends_dsn=config.delivery.notices,
    )
    if failure is None or meaning.type is not EventType.BOUNCED:
        return late_report
    return late_reports.as_failure(late_report, failure.verdict, suppress_hard=config.bounces.suppress_hard)


def _local_part(mailbox: Mailbox) -> str:
    return mailbox.rpartition("@")[0].lower()


def _cannot_read() -> RefusedError:
    return refusal(451, "4.3.0", "this cannot be read now; please try again later")


def _cannot_store() -> RefusedError:
    return refusal(451, "4.3.0", "this cannot be written down now; please try again later")
