"""Changes that somebody makes through the console or the API, each with its entry in the audit log.

In: a request that a gate let through, and work for the store.  Out: the work's result, once it is durable together with
the entry; and a line in the log.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import sqlalchemy as sa
from starlette.exceptions import HTTPException
from starlette.requests import Request

from relay import log
from relay.store.console import audit_log, bulk_actions
from relay.store.console.audit_log import Actor, AuditedChange
from relay.store.console.bulk_actions import BulkResult
from relay.store.store import Store

T = TypeVar("T")


async def write(
    store: Store,
    request: Request,
    change: AuditedChange,
    work: Callable[[sa.Connection], T],
    count: Callable[[T], int] = audit_log.count_of,
    target: Callable[[T], str] | None = None,
) -> T:
    """Runs the work in the writer's next commit, as `audit_log.carry_out` says. Raises what the work raises, and
    sqlalchemy.exc.SQLAlchemyError; then there is no entry."""
    actor = actor_of(request)
    value = await store.write(
        partial(audit_log.carry_out, actor=actor, change=change, work=work, count=count, target=target)
    )
    log_change(actor, change._replace(target=target(value) if target else change.target), count(value))
    return value


async def remove(
    store: Store, request: Request, change: AuditedChange, work: Callable[[sa.Connection], bool], noun: str
) -> None:
    """Removes something, as `write` does. Raises HTTPException 404 if the work found none of it."""
    if not await write(store, request, change, work):
        raise HTTPException(404, f"there is no such {noun}")


async def act_on_messages(store: Store, request: Request, action: str, messages: Sequence[str]) -> list[BulkResult]:
    """Does the same to each message, as `bulk_actions.act_on_messages` says."""
    if not messages:
        return []
    actor, now = actor_of(request), datetime.now(UTC)
    work = partial(bulk_actions.act_on_messages, actor=actor, action=action, messages=messages, now=now)
    done = await store.write(work)
    log_change(actor, bulk_actions.change_of(action), sum(one.deliveries for one in done))
    return done


def log_change(actor: Actor, change: AuditedChange, changed_count: int) -> None:
    """Writes the log's line; it names no address."""
    log.changed(actor.door, actor.name, change.action, change.target, changed_count)


def actor_of(request: Request) -> Actor:
    """The actor that the gate found for this request."""
    actor = request.state.actor
    assert isinstance(actor, Actor)
    return actor
