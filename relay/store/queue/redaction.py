"""Facts as `[privacy] mode` lets them be kept: what is settled names nobody.

In: a filing, or how attempts ended.  Out: the same with pseudonyms, and without texts that quote an address. What
still waits for an attempt keeps the address that it goes to. Veiling twice is veiling once.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from relay.redaction import redact, redact_addresses
from relay.store.database import identities, tables
from relay.store.database.identities import People
from relay.store.database.tables import Delivery, Message

if TYPE_CHECKING:
    from relay.store.queue.deliveries import Filing, Outcome


def outcome(known: People, one: "Outcome") -> "Outcome":
    """How an attempt ended."""
    if not known.are_veiled:
        return one
    tried = one.tried
    if tried:
        tried = tried._replace(text=known.said(tried.code, tried.text, one.recipient, is_ours=not tried.code))
    return one._replace(recipient=known.pseudonym(one.recipient), tried=tried)


def outcomes(known: People, many: Iterable["Outcome"]) -> list["Outcome"]:
    return [outcome(known, one) for one in many]


def filing(known: People, whole: "Filing") -> "Filing":
    """A message with its deliveries. Its own texts are scrubbed of all its recipients."""
    if not known.are_veiled:
        return whole
    # A notice that is owed names whom it is about; `dsn_due` veils them when it is told.
    ended = {one.number for one in whole.outcomes if not one.status.is_open and not one.owes}
    is_settled = all(row.number in ended for row in whole.deliveries)
    unwanted = known.marks(row.recipient for row in whole.deliveries)
    message = Message(**tables.values(whole.message) | _message(whole.message, unwanted))
    octets = whole.octets
    if is_settled:
        message.reverse_path, message.envid = _return_path(known, message, unwanted)
        octets = None if known.mode == "aggregate" else octets
        message.plan = message.plan if octets is not None else ""  # it quotes the mail
    rows = [_delivery(known, row) if row.number in ended else row for row in whole.deliveries]
    return whole._replace(message=message, octets=octets, deliveries=rows, outcomes=outcomes(known, whole.outcomes))


def _message(message: Message, unwanted: frozenset[str]) -> dict[str, Any]:  # Any: a row's values
    """What only we look at."""
    return {
        "message_id": redact(message.message_id, unwanted),
        "author": redact(message.author, unwanted),
        "subject": nameless(message.subject, unwanted),
        "tags": [nameless(tag, unwanted) for tag in message.tags],
        "meta": {name: nameless(value, unwanted) for name, value in message.meta.items()},
        "links": [
            link | {name: nameless(str(link.get(name, "")), unwanted) for name in ("url", "text")}
            for link in message.links
        ],
    }


def nameless(text: str, unwanted: frozenset[str]) -> str:
    """The text without addresses, and without what leads to these."""
    return redact(redact_addresses(text), unwanted)


def _delivery(known: People, row: Delivery) -> Delivery:
    return Delivery(**tables.values(row) | {"recipient": known.shown(row.recipient), "orcpt": ""})


def _return_path(known: People, message: Message, unwanted: frozenset[str]) -> tuple[str, str]:
    """Reverse-path and ENVID, which are of use until the last attempt, and may name the recipient (VERP)."""
    if known.mode == "aggregate":
        return "", ""
    return redact(message.reverse_path, unwanted), redact(message.envid, unwanted)


def forget(connection: sa.Connection, message: str, recipients: list[str]) -> None:
    """Where nothing of the message waits any more, nor is to be told: lets go of what was for its delivery and
    could lead to these."""
    delivery, table, known = tables.delivery, tables.message, identities.of(connection)
    waits = sa.select(delivery.c.number).where(
        delivery.c.message == message, sa.or_(delivery.c.next_attempt_at.is_not(None), tables.is_owing)
    )
    row = connection.execute(sa.select(table.c.reverse_path, table.c.envid).where(table.c.id == message)).first()
    if row is None or connection.execute(waits.limit(1)).first():
        return
    change = {"reverse_path": "", "envid": "", "plan": ""}
    if known.mode != "aggregate":
        unwanted = known.marks(recipients)
        change = {name: redact(row[n], unwanted) for n, name in enumerate(("reverse_path", "envid"))}
    connection.execute(sa.update(table).where(table.c.id == message).values(**change))
    if known.mode == "aggregate":
        connection.execute(sa.delete(tables.content).where(tables.content.c.message == message))
