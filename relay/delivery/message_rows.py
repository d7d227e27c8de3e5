"""The rows that the store keeps of a message, and its rewrite settings, made from what was accepted and planned."""

import re
from datetime import datetime, timedelta

from relay import address, redaction
from relay.config.schema import Config
from relay.config.smtp import UpstreamConfig
from relay.config.values import read_duration
from relay.envelope import AcceptedMessage, Recipient
from relay.mime import fields
from relay.rewrite import provider_dialects
from relay.rewrite.plan import Plan, Settings
from relay.store.database.tables import Delivery, Message, Status

_BULK = re.compile(rb"\s*(?:bulk|list|junk)\b", re.IGNORECASE)
_NOT_AUTOMATIC = re.compile(rb"\s*no\s*(?:;|\(|$)", re.IGNORECASE)


def rewrite_settings(config: Config, accepted: AcceptedMessage) -> Settings:
    """How this message is to be rewritten."""
    tracking, unsubscribe = config.tracking, config.unsubscribe
    is_tracked = config.privacy.mode != "off"
    return Settings(
        public_url=tracking.public_url,
        opens=tracking.opens and is_tracked,
        clicks=tracking.clicks and is_tracked,
        exclude=frozenset(host.lower() for host in tracking.exclude),
        text_is_url=tracking.text_is_url,
        text_links=tracking.text_links,
        already_signed=tracking.already_signed,
        # A notification is not list mail: nobody subscribed to it.
        unsubscribe_header=_unsubscribe_header(config, accepted),
        unsubscribe_streams=tuple(unsubscribe.streams),
        unsubscribe_exempt=tuple(unsubscribe.exempt),
        unsubscribe_mailto=unsubscribe.mailto,
        unsubscribe_mailto_at=config.bounces.return_path,
        stream=accepted.envelope.stream,
        above=accepted.prepended_fields,
        dialects=tuple(tracking.dialects),
        providers=_providers(config, accepted.envelope.reverse_path),
        unnamed=_identifying_strings(config, accepted),
        dkim=frozenset(key.domain for key in config.dkim.key),
        stores=True,
        authors=_authors(config, accepted.client.user),
    )


def _unsubscribe_header(config: Config, accepted: AcceptedMessage) -> str:
    if not accepted.envelope.reverse_path:
        return "off"
    return config.unsubscribe.header if config.privacy.has_recipient_tokens else "for_nobody"


def _identifying_strings(config: Config, accepted: AcceptedMessage) -> frozenset[str]:
    """Strings that no tracked link may contain, because the link and its clicks would identify a recipient."""
    if config.privacy.has_recipient_tokens:
        return frozenset()
    return redaction.identifying_strings((one.mailbox for one in accepted.envelope.recipients), with_local_part=True)


def expires_at(config: Config, accepted: AcceptedMessage, plan: Plan) -> datetime:
    """When delivery is given up: after `expire_after`, or sooner if the app said so."""
    longest: timedelta = config.delivery.expire_after
    return accepted.at + min(longest, _expires_in(plan) or longest)


def _expires_in(plan: Plan) -> timedelta | None:
    """What the app asked for; None where it asked for nothing that can be read."""
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
        accepts_dsn=accepts_dsn(envelope.reverse_path, accepted.octets),
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
        client=" ".join(part for part in (client.ip, client.user, client.protocol) if part),
        login=client.user if config.access.auth == "upstream" else "",
        expires_at=expires_at(config, accepted, plan),
    )


def accepts_dsn(reverse_path: str, octets: bytes) -> bool:
    """True if the sender reads DSNs: not for a null reverse-path, bulk or automatic mail."""
    if not reverse_path:
        return False
    head = fields.read(octets, 0, len(octets))
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


def provider(upstream: UpstreamConfig) -> str:
    """The provider that this upstream is; empty if it is none that we know."""
    name = upstream.provider or provider_dialects.find_by_host(upstream.address.host)
    return "" if name == "none" else name


def _providers(config: Config, reverse_path: str) -> tuple[str, ...]:
    """The providers among the upstreams that may serve the mail: one takes over when another is down."""
    serving = (one for one in config.upstream if address.matches_any(reverse_path, one.senders))
    return tuple(name for name in dict.fromkeys(map(provider, serving)) if name)


def _authors(config: Config, user: str) -> tuple[str, ...]:
    """The authors that this account may send as. A network that may relay may send as anybody. With `auth = "upstream"`
    only the upstream knows: if the user's name is an address, we sign for its domain, else for none."""
    if not user:
        return ("*",)
    if config.access.auth == "upstream":
        return (f"@{address.domain(user)}",) if "@" in user else ()
    return tuple(next((one.senders for one in config.access.user if one.name == user), ()))


def _added_message_id(prepended_fields: tuple[bytes, ...]) -> str:
    for field in prepended_fields:
        if found := re.match(rb"Message-ID: <(.*)>", field):
            return found[1].decode("ascii")
    return ""
