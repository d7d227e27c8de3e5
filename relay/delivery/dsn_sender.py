"""DSNs to the reverse-path: each is itself a message in the queue.

In: outcomes, and what the client asked for (RFC 3461).  Out: which DSN is due, and DSNs filed. Nothing is sent to a
null reverse-path, so that a DSN which bounces ends there; nor for bulk mail, whose sender reads lists, not mail.
"""

import asyncio
import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from relay import address, ids, log
from relay.address import Mailbox
from relay.config import smtp
from relay.config.schema import Config
from relay.delivery import dsn, message_rows
from relay.delivery.dsn import OriginalMail, RecipientStatus
from relay.envelope import AcceptedMessage, Client, Envelope, Recipient
from relay.mime import fields
from relay.rewrite import plan as planning
from relay.rewrite.plan import Plan
from relay.store.database import errors
from relay.store.database.tables import Message, Status
from relay.store.queue import dsn_due
from relay.store.queue.deliveries import NewMessage, Outcome
from relay.store.queue.dsn_due import DueDsn
from relay.store.store import Store

STREAM = "notice"
DROPPED = "dropped"  # the category of what an operator took out of the queue
_DIGIT = {dsn.FAILED: "5", dsn.DELAYED: "4", dsn.RELAYED: "2"}
_POLL_S = 1.0
_PUT_ASIDE_FOR = timedelta(hours=1)  # what cannot be composed; a later version, when it starts, tries at once


def due_action(
    settings: smtp.DeliveryConfig, notify: str, accepted_at: datetime, outcome: Outcome, *, tells: bool = False
) -> str:
    """What the reverse-path is to be told of that outcome, if notices are taken: an action, or nothing.

    RFC 3461 §4.1: without NOTIFY it is told of failures; DELAY and SUCCESS are for those who ask. §5.2.2: where the
    next server cannot tell of success (`tells`), the mail was relayed, and this is the last that is heard of it.
    """
    wanted = dsn_due.requested_conditions(notify)
    if not settings.notices:
        return ""
    match outcome.status:
        case Status.BOUNCED | Status.EXPIRED if "FAILURE" in wanted:
            return dsn.FAILED
        case Status.DEFERRED if "DELAY" in wanted and outcome.at - accepted_at >= settings.notify_delay:
            return dsn.DELAYED
        case Status.DELIVERED if "SUCCESS" in wanted and not tells:
            return dsn.RELAYED
    return ""


class DsnSender:
    """Files the DSNs that are due. Several may run at once, on several machines."""

    def __init__(
        self,
        config: Config,
        store: Store,
        wake: Callable[[], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._config = config
        self._store = store
        self._wake = wake
        self._now = now
        self._set_aside: dict[str, datetime] = {}

    async def run(self) -> None:
        """Never returns."""
        while True:
            try:
                await self._file_due()
            except Exception as error:  # noqa: BLE001  the outermost loop: what is due stays due
                errors.log_failure(error, "notices")
            await asyncio.sleep(_POLL_S)

    async def _file_due(self) -> None:
        now = self._now()
        self._set_aside = {message: until for message, until in self._set_aside.items() if until > now}
        for message in await self._store.read(
            lambda connection: dsn_due.find_messages_with_due_dsn(connection, now, list(self._set_aside))
        ):
            try:
                count = await self._store.write(
                    lambda connection, message=message: dsn_due.queue_due_dsn(connection, message, self._filing)  # type: ignore[misc]
                )
            except Exception as error:
                if errors.is_database_fault(error):
                    raise
                log.fault("notice", message)  # those behind it go out all the same
                self._set_aside[message] = now + _PUT_ASIDE_FOR
                continue
            if count:
                log.notified(message, count)
                self._wake()

    def _filing(self, message: Message, octets: bytes | None, debts: list[DueDsn]) -> NewMessage:
        """The DSN as a message of its own: not tracked, with the null reverse-path."""
        now = self._now()
        made = ids.new(now)
        recipients = [self._recipient_status(message, one) for one in debts]
        composed = dsn.compose(made, self._config.relay.hostname, now, _original_mail(message, octets), recipients)
        to = Recipient(Mailbox(message.reverse_path), notify="NEVER")  # RFC 3461 §6.2
        envelope = Envelope(
            address.NULL,
            (to,),
            body="" if composed.isascii() else "8BITMIME",
            smtputf8=not message.reverse_path.isascii(),
            stream=STREAM,
        )
        accepted = AcceptedMessage(made, now, Client(""), envelope, composed, ())
        settings = dataclasses.replace(
            message_rows.rewrite_settings(self._config, accepted), opens=False, clicks=False, unsubscribe_header="off"
        )
        plan = planning.plan(composed, settings)
        for trace in plan.faults:
            log.fault_trace("plan", made, trace)
        row = message_rows.message_row(self._config, accepted, plan)
        row.client, row.login = "", message.login  # an upstream that wants the user's credentials wants them here too
        return NewMessage(row, composed, [message_rows.delivery_row(made, 0, to, now)], [])

    def _recipient_status(self, message: Message, debt: DueDsn) -> RecipientStatus:
        row, tried = debt.delivery, debt.attempt
        hosts = {one.name: str(one.address.host) for one in self._config.upstream}
        status = reply = remote = ""
        if row.category == DROPPED:
            status, reply = "5.3.0", "the operator of the mail system took the message out of its queue"
        elif tried:
            status = tried.status or f"{str(tried.code)[0] if tried.code else _DIGIT[row.dsn_due]}.0.0"
            reply = " ".join(str(part) for part in (tried.code, tried.status, tried.text) if part)
            remote = hosts.get(tried.upstream, tried.upstream) if tried.code else ""
        if row.status == Status.EXPIRED and row.category != DROPPED:
            status, reply = "4.4.7", reply or "the time for its delivery ran out"  # RFC 3463 §3.5
        return RecipientStatus(
            recipient=row.recipient,
            orcpt=row.orcpt,
            action=row.dsn_due,
            status=status,
            remote=remote,
            reply=reply,
            at=tried.at if tried else (row.settled_at or message.accepted_at),
            retried_until=message.expires_at if Status(row.status).is_open else None,
        )


def _original_mail(message: Message, octets: bytes | None) -> OriginalMail:
    above = _prepended_fields(message)
    whole = above + octets if octets is not None else None
    if octets is None:
        subject = " ".join(message.subject.split())
        head = f"Message-ID: <{message.message_id.strip('<>')}>\r\nSubject: {subject}\r\n".encode("utf-8", "replace")
    else:
        found = fields.read(octets, 0, len(octets))
        head = above + octets[: found.body].removesuffix(b"\r\n")
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
    drafts = plan.templates if plan else ()
    return b"".join(
        piece for draft in drafts if draft.why == "above" for piece in draft.pieces if isinstance(piece, bytes)
    )
