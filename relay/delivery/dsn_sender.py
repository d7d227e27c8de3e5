"""DSNs to the reverse-path: each is itself a message in the queue.

In: outcomes, and what the client asked for (RFC 3461).  Out: which DSN is due, and DSNs in the queue. None is sent to a
null reverse-path, so that a DSN which bounces causes no other; and none for bulk mail, whose senders do not read them.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from relay import address, ids, log, timed_wait
from relay.address import Mailbox
from relay.config import smtp
from relay.config.schema import Config
from relay.delivery import dsn, message_rows
from relay.delivery.dsn import OriginalMail, RecipientStatus
from relay.delivery.rewrite_settings import RewriteSettings
from relay.envelope import AcceptedMessage, Client, Envelope, Recipient
from relay.mime import fields
from relay.rewrite import plan as planning
from relay.rewrite.plan import Plan
from relay.store.database import errors, roll_ups
from relay.store.database.rows import Message
from relay.store.database.tables import Status
from relay.store.queue import dsn_due, queue_actions
from relay.store.queue.dsn_due import DueDsn
from relay.store.queue.queue_facts import NewMessage, Outcome
from relay.store.store import Store

STREAM = roll_ups.NOTICE_STREAM
_STATUS_CLASS = {dsn.FAILED: "5", dsn.DELAYED: "4", dsn.RELAYED: "2"}
_POLL_S = 1.0
_POSTPONE_FOR = timedelta(hours=1)  # a DSN that cannot be composed; the next version tries at its start


def due_action(
    settings: smtp.DeliveryConfig,
    notify: str,
    accepted_at: datetime,
    outcome: Outcome,
    *,
    upstream_sends_dsn: bool = False,
) -> str:
    """The action of the DSN that this outcome makes due, or an empty string.

    RFC 3461 §4.1: without NOTIFY a DSN is sent for failures only; DELAY and SUCCESS must be requested. §5.2.2: if the
    next server does not support DSN (not `upstream_sends_dsn`), we send a "relayed" DSN ourselves.
    """
    if not settings.notices or (outcome.status is Status.DELIVERED and not notify):
        return ""
    conditions = dsn_due.requested_conditions(notify)
    match outcome.status:
        case Status.BOUNCED | Status.EXPIRED if "FAILURE" in conditions:
            return dsn.FAILED
        case Status.DEFERRED if "DELAY" in conditions and outcome.at - accepted_at >= settings.notify_delay:
            return dsn.DELAYED
        case Status.DELIVERED if "SUCCESS" in conditions and not upstream_sends_dsn:
            return dsn.RELAYED
    return ""


class DsnSender:
    """Puts the DSNs that are due into the queue. Several may run at once, on several machines."""

    def __init__(
        self,
        config: Config,
        store: Store,
        wake: Callable[[], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._config = config
        self._rewrite_settings = RewriteSettings(config)
        self._store = store
        self._wake = wake
        self._wake_event = asyncio.Event()
        self._now = now
        self._postponed: dict[str, datetime] = {}

    def wake(self) -> None:
        """Looks at once: a DSN is due."""
        self._wake_event.set()

    async def run(self) -> None:
        """Never returns."""
        while True:
            self._wake_event.clear()
            try:
                await self._file_due()
            except Exception as error:  # noqa: BLE001  the outermost loop: a DSN that is due stays due
                errors.log_failure(error, "dsn")
            await timed_wait.wait_until_set(self._wake_event, self._store.listener.poll_s(_POLL_S))

    async def _file_due(self) -> None:
        now = self._now()
        self._postponed = {message: until for message, until in self._postponed.items() if until > now}
        for message in await self._store.read(
            lambda connection: dsn_due.find_messages_with_due_dsn(connection, now, list(self._postponed))
        ):
            try:
                count = await self._store.write(
                    lambda connection, message=message: dsn_due.queue_due_dsn(connection, message, self._make_dsn)  # type: ignore[misc]
                )
            except Exception as error:
                if errors.is_database_fault(error):
                    raise
                log.fault("dsn", message)  # the other DSNs are sent nevertheless
                self._postponed[message] = now + _POSTPONE_FOR
                continue
            if count:
                log.dsn_queued(message, count)
                self._wake()

    def _make_dsn(self, message: Message, octets: bytes | None, due: list[DueDsn]) -> NewMessage:
        """The DSN as a message of its own: not tracked, with the null reverse-path."""
        now = self._now()
        dsn_id = ids.new(now)
        recipients = [self._recipient_status(message, one) for one in due]
        octets_of_dsn = dsn.compose(
            dsn_id, self._config.relay.hostname, now, _original_mail(message, octets), recipients
        )
        to = Recipient(Mailbox(message.reverse_path), notify="NEVER")  # RFC 3461 §6.2
        envelope = Envelope(
            address.NULL,
            (to,),
            body="" if octets_of_dsn.isascii() else "8BITMIME",
            smtputf8=not message.reverse_path.isascii(),
            stream=STREAM,
        )
        head = fields.parse_head(octets_of_dsn, 0, len(octets_of_dsn))
        accepted = AcceptedMessage(dsn_id, now, Client(""), envelope, octets_of_dsn, (), head)
        settings = self._rewrite_settings.for_message(accepted)
        settings = settings._replace(opens=False, clicks=False, unsubscribe_header="off")
        plan = planning.plan(octets_of_dsn, settings, head)
        for trace in plan.faults:
            log.fault_trace("plan", dsn_id, trace)
        row = message_rows.message_row(self._config, accepted, plan)
        row.client, row.login = (
            "",
            message.login,
        )  # an upstream that requires the user's credentials requires them here too
        return NewMessage(row, octets_of_dsn, [message_rows.delivery_row(dsn_id, 0, to, now)], [])

    def _recipient_status(self, message: Message, one_due: DueDsn) -> RecipientStatus:
        row, last_attempt = one_due.delivery, one_due.attempt
        hosts = {one.name: str(one.address.host) for one in self._config.upstream}
        status = reply = remote = ""
        if row.category == queue_actions.DROPPED:
            status, reply = "5.3.0", "the operator of the mail system took the message out of its queue"
        elif last_attempt:
            status = (
                last_attempt.status
                or f"{str(last_attempt.code)[0] if last_attempt.code else _STATUS_CLASS[row.dsn_due]}.0.0"
            )
            reply = " ".join(str(part) for part in (last_attempt.code, last_attempt.status, last_attempt.text) if part)
            remote = hosts.get(last_attempt.upstream, last_attempt.upstream) if last_attempt.code else ""
        if row.status == Status.EXPIRED and row.category != queue_actions.DROPPED:
            status, reply = "4.4.7", reply or "the time for its delivery ran out"  # RFC 3463 §3.5
        return RecipientStatus(
            recipient=row.recipient,
            orcpt=row.orcpt,
            action=row.dsn_due,
            status=status,
            remote=remote,
            reply=reply,
            at=last_attempt.at if last_attempt else (row.settled_at or message.accepted_at),
            retried_until=message.expires_at if Status(row.status).is_open else None,
        )


def _original_mail(message: Message, octets: bytes | None) -> OriginalMail:
    prepended = _prepended_fields(message)
    whole = prepended + octets if octets is not None else None
    if octets is None:
        subject = " ".join(message.subject.split())
        head = f"Message-ID: <{message.message_id.strip('<>')}>\r\nSubject: {subject}\r\n".encode("utf-8", "replace")
    else:
        found = fields.parse_head(octets, 0, len(octets))
        head = prepended + octets[: found.body].removesuffix(b"\r\n")
    return OriginalMail(
        reverse_path=message.reverse_path,
        message_id=f"<{message.message_id.strip('<>')}>" if message.message_id else "",
        subject=message.subject,
        accepted_at=message.accepted_at,
        envid=message.envid,
        is_international=message.smtputf8,
        head=head,
        whole=whole if message.ret == "FULL" else None,
    )


def _prepended_fields(message: Message) -> bytes:
    """The fields that we put before the message: Received, and what it lacked."""
    plan = Plan.from_json(message.plan) if message.plan else None
    templates = plan.templates if plan else ()
    return b"".join(
        piece
        for template in templates
        if template.why == "above"
        for piece in template.pieces
        if isinstance(piece, bytes)
    )
