"""The rows that the store keeps of a message, made from what was accepted and planned."""

import re
from datetime import datetime, timedelta

from relay.config.schema import Config
from relay.config.values import read_duration
from relay.envelope import AcceptedMessage, Recipient
from relay.mime import fields
from relay.rewrite.plan import Plan
from relay.store.database.rows import Delivery, Message
from relay.store.database.tables import Status

_BULK_FIELDS = frozenset({b"list-id", b"list-unsubscribe", b"precedence", b"auto-submitted"})
_BULK = re.compile(rb"\s*(?:bulk|list|junk)\b", re.IGNORECASE)
_NOT_AUTOMATIC = re.compile(rb"\s*no\s*(?:;|\(|$)", re.IGNORECASE)


def expires_at(config: Config, accepted: AcceptedMessage, plan: Plan) -> datetime:
    """When delivery is given up: after `expire_after`, or sooner if the app said so."""
    longest: timedelta = config.delivery.expire_after
    return accepted.at + min(longest, _expires_in(plan) or longest)


def _expires_in(plan: Plan) -> timedelta | None:
    """What the app asked for; None where it asked for nothing that can be read."""
    if not plan.control.expires_in:
        return None
    try:
        asked = read_duration(plan.control.expires_in)
    except ValueError:
        return None
    return asked or None


def reasons(plan: Plan) -> list[str]:
    """Why parts of the mail are left as they were, and which instructions of the app could not be read."""
    is_unread = bool(plan.control.expires_in) and _expires_in(plan) is None
    return [*plan.reasons, *(["bad_expires_in"] if is_unread else [])]


def message_row(config: Config, accepted: AcceptedMessage, plan: Plan) -> Message:
    """The message's row."""
    envelope, client = accepted.envelope, accepted.client
    return Message(
        id=accepted.id,
        accepted_at=accepted.at,
        message_id=plan.facts.message_id.removeprefix("<").removesuffix(">")
        or _added_message_id(accepted.prepended_fields),
        author=plan.facts.author,
        subject=plan.facts.subject,
        reverse_path=envelope.reverse_path,
        accepts_dsn=accepts_dsn(envelope.reverse_path, accepted.octets, accepted.head),
        size_octets=len(accepted.octets),
        stream=plan.control.stream or envelope.stream,
        tags=list(plan.control.tags),
        meta=dict(plan.control.metadata),
        links=[link._asdict() for link in plan.links],
        reasons=reasons(plan),
        pixels=plan.pixels,
        plan=plan.to_json(),
        body=envelope.body,
        smtputf8=envelope.smtputf8,
        ret=envelope.ret,
        envid=envelope.envid,
        client=" ".join(filter(None, (client.ip, client.user, client.protocol))),
        login=client.user if config.access.auth == "upstream" else "",
        expires_at=expires_at(config, accepted, plan),
    )


def accepts_dsn(reverse_path: str, octets: bytes, head: fields.Head) -> bool:
    """True if the sender reads DSNs: not for a null reverse-path, bulk or automatic mail."""
    if not reverse_path:
        return False
    if _BULK_FIELDS.isdisjoint(head.by_name):
        return True
    if head.fields_named(b"list-id") or head.fields_named(b"list-unsubscribe"):
        return False
    if any(_BULK.match(fields.unfold_value(octets, found)) for found in head.fields_named(b"precedence")):
        return False
    return all(
        _NOT_AUTOMATIC.match(fields.unfold_value(octets, found)) for found in head.fields_named(b"auto-submitted")
    )


def delivery_row(message_id: str, number: int, recipient: Recipient, next_attempt_at: datetime | None) -> Delivery:
    """A recipient's row, still queued."""
    return Delivery(
        message=message_id,
        number=number,
        recipient=recipient.mailbox,
        notify=recipient.notify,
        orcpt=recipient.orcpt,
        status=Status.QUEUED,
        next_attempt_at=next_attempt_at,
    )


def _added_message_id(prepended_fields: tuple[bytes, ...]) -> str:
    for field in prepended_fields:
        if found := re.match(rb"Message-ID: <(.*)>", field):
            return found[1].decode("ascii")
    return ""
