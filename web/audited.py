"""Changes that somebody makes through the console or the API, each with its entry in the audit log.

In: a request that a gate let through, and work for the store.  Out: the work's result, once it is durable together with
the entry; and a line in the log.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import sqlalchemy as sa
from starlette.requests import Request

from relay import log
from relay.store.console import audit_log
from relay.store.console.audit_log import Actor, AuditedChange
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


def log_change(actor: Actor, change: AuditedChange, changed: int) -> None:
    """The log's line; it names no address."""
    log.changed(actor.door, actor.name, change.action, change.target, changed)


def actor_of(request: Request) -> Actor:
    """Who asks, as the gate found out."""
    actor = request.state.actor
    assert isinstance(actor, Actor)
    return actor
