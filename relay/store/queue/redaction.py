"""Facts as `[privacy] mode` allows to store them: settled deliveries do not identify their recipient.

In: a new message, or outcomes.  Out: the same with pseudonyms, and without texts that quote an address. A delivery that
waits for an attempt keeps its address. Redacting twice is the same as redacting once.
"""

import re
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from relay import conversation
from relay.conversation import ConversationLine, Direction
from relay.redaction import REDACTED, redact, redact_addresses
from relay.store.database import identities, tables
from relay.store.database.identities import IdentityPolicy
from relay.store.database.rows import Delivery, Message, row_values
from relay.store.queue import content_files
from relay.store.queue.queue_facts import NewMessage, Outcome

_REPLY_CODES = re.compile(r"[0-9]{3}(?:[ -](?:[245]\.[0-9]{1,3}\.[0-9]{1,3}(?= |$))?)?")
_NAMING_PARAMETERS = re.compile(r"\b(ORCPT|ENVID)=\S+")


def redact_outcome(policy: IdentityPolicy, outcome: Outcome) -> Outcome:
    """How an attempt ended."""
    if not policy.redacts:
        return outcome
    attempt = outcome.attempt
    if attempt:
        text = policy.redact_reply(attempt.code, attempt.text, outcome.recipient, is_ours=not attempt.code)
        said = _redact_conversation(policy, attempt.conversation, outcome.recipient) if attempt.conversation else ""
        attempt = attempt._replace(text=text, conversation=said)
    return outcome._replace(recipient=policy.pseudonym(outcome.recipient), attempt=attempt)


def _redact_conversation(policy: IdentityPolicy, text: str, recipient: str) -> str:
    """An attempt's conversation. Of what the server said, the codes stay; of our commands, all but what can name
    somebody."""
    unwanted = policy.identifying_strings([recipient])

    def redact_line(line: ConversationLine) -> str:
        if line.direction is Direction.RECEIVED:
            found = _REPLY_CODES.match(line.text)
            return found[0].rstrip() if found else ""
        words = _redact_path(line.text) if line.direction is Direction.SENT else line.text
        return redact_text(_NAMING_PARAMETERS.sub(rf"\1={REDACTED}", words), unwanted)

    return conversation.replace_texts(text, redact_line)


def _redact_path(command: str) -> str:
    """MAIL or RCPT without its path, whatever is in it: of `a/b@c.test` or `"a b"@c.test`, prose rules leave a part."""
    before, mark, rest = command.partition("<")
    if not mark or rest.startswith(">"):
        return command
    _, _, parameters = rest.rpartition(">")
    return f"{before}<{REDACTED}>{parameters if '>' in rest else ''}"


def redact_outcomes(policy: IdentityPolicy, many: Iterable[Outcome]) -> list[Outcome]:
    return [redact_outcome(policy, outcome) for outcome in many]


def redact_new_message(policy: IdentityPolicy, whole: NewMessage) -> NewMessage:
    """A message with its deliveries. Its own texts are scrubbed of all its recipients."""
    if not policy.redacts:
        return whole
    # A due DSN names its recipients; `dsn_due` redacts them when it is sent.
    ended = {outcome.number for outcome in whole.outcomes if not outcome.status.is_open and not outcome.dsn_due}
    is_settled = all(row.number in ended for row in whole.deliveries)
    unwanted = policy.identifying_strings(row.recipient for row in whole.deliveries)
    message = Message(**row_values(whole.message) | _redacted_columns(whole.message, unwanted))
    octets = whole.octets
    if is_settled:
        message.reverse_path, message.envid = _redact_return_path(policy, message, unwanted)
        octets = None if policy.mode == "aggregate" else octets
        message.plan = message.plan if octets is not None or whole.in_file else ""  # it quotes the mail
    rows = [_redact_delivery(policy, row) if row.number in ended else row for row in whole.deliveries]
    return whole._replace(
        message=message, octets=octets, deliveries=rows, outcomes=redact_outcomes(policy, whole.outcomes)
    )


def _redacted_columns(message: Message, unwanted: frozenset[str]) -> dict[str, Any]:  # Any: a row's values
    """The columns that only we read."""
    return {
        "message_id": redact(message.message_id, unwanted),
        "author": redact(message.author, unwanted),
        "subject": redact_text(message.subject, unwanted),
        "tags": [redact_text(tag, unwanted) for tag in message.tags],
        "meta": {name: redact_text(value, unwanted) for name, value in message.meta.items()},
        "links": [
            link | {name: redact_text(str(link.get(name, "")), unwanted) for name in ("url", "text")}
            for link in message.links
        ],
    }


def redact_text(text: str, unwanted: frozenset[str]) -> str:
    """The text without addresses, and without what leads to these."""
    return redact(redact_addresses(text), unwanted)


def _redact_delivery(policy: IdentityPolicy, row: Delivery) -> Delivery:
    return Delivery(**row_values(row) | {"recipient": policy.event_recipient(row.recipient), "orcpt": ""})


def _redact_return_path(policy: IdentityPolicy, message: Message, unwanted: frozenset[str]) -> tuple[str, str]:
    """Reverse-path and ENVID, which are of use until the last attempt, and may name the recipient (VERP)."""
    if policy.mode == "aggregate":
        return "", ""
    return redact(message.reverse_path, unwanted), redact(message.envid, unwanted)


def clear_envelope(connection: sa.Connection, message: str, recipients: list[str]) -> None:
    """Once no delivery of the message is pending and no DSN is due, clears the fields that could identify these
    recipients: reverse-path, ENVID, and in aggregate mode plan and content."""
    delivery, table, policy = tables.delivery, tables.message, identities.policy_for(connection)
    waits = sa.select(delivery.c.number).where(
        delivery.c.message == message, sa.or_(delivery.c.next_attempt_at.is_not(None), tables.has_dsn_due)
    )
    row = connection.execute(sa.select(table.c.reverse_path, table.c.envid).where(table.c.id == message)).first()
    if row is None or connection.execute(waits.limit(1)).first():
        return
    change = {"reverse_path": "", "envid": "", "plan": ""}
    if policy.mode != "aggregate":
        unwanted = policy.identifying_strings(recipients)
        change = {name: redact(row[n], unwanted) for n, name in enumerate(("reverse_path", "envid"))}
    connection.execute(sa.update(table).where(table.c.id == message).values(**change))
    if policy.mode == "aggregate":
        content_files.delete_with_rows(connection, [message])
