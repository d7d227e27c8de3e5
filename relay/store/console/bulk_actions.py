"""One action on many messages, each for itself: attempt now, hold, release, drop, send again."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from relay.store.console import audit_log
from relay.store.console.audit_log import Actor, AuditedChange
from relay.store.queue import queue_actions, resend
from relay.store.queue.queue_actions import QueueTarget

MAX_MESSAGES = 500
RESEND = "resend"


class BulkResult(NamedTuple):
    """What became of one of the messages."""

    message: str
    deliveries: int  # that the action changed, or that are sent again
    sent_as: str  # the new message; empty if it was not sent again
    fault: str  # why nothing was done; empty if something was


def _drop_deliveries(connection: sa.Connection, now: datetime, target: QueueTarget) -> int:
    return queue_actions.drop(connection, now, target).dropped


_QUEUE_ACTIONS: Mapping[str, Callable[[sa.Connection, datetime, QueueTarget], int]] = {
    "retry": queue_actions.retry,
    "hold": queue_actions.hold,
    "release": queue_actions.release,
    "drop": _drop_deliveries,
}
ACTIONS = (*_QUEUE_ACTIONS, RESEND)


def change_of(action: str) -> AuditedChange:
    """What the audit log and the log call the action."""
    return AuditedChange("message.resend" if action == RESEND else f"queue.{action}")


def act_on_messages(
    connection: sa.Connection, actor: Actor, action: str, messages: Sequence[str], now: datetime
) -> list[BulkResult]:
    """Does one of ACTIONS to each message, with an entry in the audit log. Ids are well-formed."""
    return [_act_on_message(connection, actor, action, message, now) for message in dict.fromkeys(messages)]


def _act_on_message(connection: sa.Connection, actor: Actor, action: str, message: str, now: datetime) -> BulkResult:
    if action == RESEND:
        try:
            made = audit_log.carry_out(
                connection,
                actor,
                change_of(action)._replace(target=message),
                lambda inner: resend.resend_message(inner, message, now, actor.name, []),
                count=lambda sent: len(sent.recipients) if sent else 0,
            )
        except resend.CannotResendError as error:
            return BulkResult(message, 0, "", str(error))
        if made is None:
            return BulkResult(message, 0, "", "there is no such message")
        return BulkResult(message, len(made.recipients), made.message, "")
    target, change = queue_actions.parse_target(message), _QUEUE_ACTIONS[action]
    changed = audit_log.carry_out(
        connection, actor, change_of(action)._replace(target=message), lambda inner: change(inner, now, target)
    )
    return BulkResult(message, changed, "", "" if changed else "nothing of it waits")
