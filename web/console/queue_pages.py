"""The queue, as operators see and change it: what waits for which upstream since when, and what to do about it.

In: a session that the gate let through.  Out: a page by upstream and age with a list, and the actions on what is ticked
in it: attempt now, hold, release, drop.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

import sqlalchemy as sa
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from relay import ids
from relay.config.schema import Config
from relay.store import upstream_states
from relay.store.console import audit_log
from relay.store.console.audit_log import AuditedChange
from relay.store.queue import queue_actions
from relay.store.queue.queue_actions import QueueTarget
from relay.store.store import Store
from relay.store.views import queue_list
from relay.store.views.queue_list import QueueCursor, QueueFilter
from web import audited
from web.console import page_filters, sign_in
from web.console.page_filters import PageFilters

_PAGE_ROWS = 50
_MAX_TARGETS = 500  # ticked at once
_CURSOR = re.compile(rf"([0-9]{{1,18}})\.({ids.PATTERN})\.([0-9]{{1,9}})")
_STATES: Mapping[str, QueueFilter] = {
    "": QueueFilter(),
    "waiting": QueueFilter(held=False, parked=False),
    "held": QueueFilter(held=True),
    "parked": QueueFilter(parked=True),
}


class QueuePages:
    """The routes under `/queue`."""

    def __init__(self, config: Config, store: Store, page: Callable[..., Response]) -> None:
        self._config = config
        self._store = store
        self._render_page = page

    def routes(self) -> list[BaseRoute]:
        return [Route("/queue", self.list_queue), Route("/queue", self.change_queue, methods=["POST"])]

    async def list_queue(self, request: Request) -> Response:
        filters = PageFilters(request.query_params, ("recipient", "state", "after"))
        recipient, state = filters.text("recipient"), filters.choice("state", filter(None, _STATES))
        found = filters.cursor("after", _CURSOR, "later deliveries")
        after = QueueCursor(int(found[1]), found[2], int(found[3])) if found else None
        wanted, now = _STATES[state]._replace(recipient=recipient), datetime.now(UTC)
        totals, groups, states, page = await self._store.read(
            lambda connection: (
                queue_list.queue_totals(connection, now),
                queue_list.queue_by_upstream(connection, now),
                upstream_states.read_states(connection, now),
                queue_list.list_queue(connection, wanted, _PAGE_ROWS, now, after),
            )
        )
        kept = {name: value for name, value in (("recipient", recipient), ("state", state)) if value}
        return self._render_page(
            request,
            "queue.html",
            "queue",
            totals=totals,
            groups=groups,
            max_grouped=queue_list.MAX_GROUPED,
            states=states,
            upstreams=[one.name for one in self._config.upstream],
            entries=page.items,
            faults=filters.faults,
            recipient=recipient,
            state_asked=state,
            is_filtered=bool(kept),
            here=page_filters.page_url("/queue", kept),
            later=page_filters.page_url("/queue", kept | {"after": ".".join(map(str, page.next))}) if page.next else "",
            is_later_page=after is not None,
        )

    async def change_queue(self, request: Request) -> Response:
        form = await sign_in.read_checked_form(request)
        action, chosen = str(form.get("do", "")), [str(one) for one in form.getlist("delivery")][:_MAX_TARGETS]
        if action == "retry-all":
            work = partial(queue_actions.retry_all, now=datetime.now(UTC))
            count = await audited.write(self._store, request, AuditedChange("queue.retry_all"), work)
            request.session["notice"] = f"{_deliveries(count)} attempted now." if count else "Nothing waits."
        else:
            request.session["notice"] = await apply_action(self._store, request, action, chosen)
        return RedirectResponse("/queue", 303)


async def apply_action(store: Store, request: Request, action: str, target_texts: Sequence[str]) -> str:
    """Applies the action to deliveries, or to all of a message's. Returns a sentence for the operator. Raises
    HTTPException 400."""
    try:
        targets = [queue_actions.parse_target(one) for one in target_texts]
    except ValueError:
        raise HTTPException(400) from None
    if not targets:
        return "Nothing was chosen, and nothing changed."
    now = datetime.now(UTC)
    try:
        change, done = _ACTIONS[action]
    except KeyError:
        raise HTTPException(400) from None
    actor = audited.actor_of(request)

    def apply_to_all(connection: sa.Connection) -> int:
        """Each with an entry of its own in the audit log."""
        return sum(
            audit_log.carry_out(
                connection, actor, AuditedChange(f"queue.{action}", one), partial(change, now=now, target=target)
            )
            for one, target in zip(target_texts, targets, strict=True)
        )

    count = await store.write(apply_to_all)
    audited.log_change(
        actor, AuditedChange(f"queue.{action}", target_texts[0] if len(target_texts) == 1 else ""), count
    )
    return f"{_deliveries(count)} {done}." if count else "None of that waits any more. Nothing was changed."


def _drop(connection: sa.Connection, now: datetime, target: QueueTarget) -> int:
    return queue_actions.drop(connection, now, target).dropped


# They are called with `now` and `target` by name.
_ACTIONS: dict[str, tuple[Callable[..., int], str]] = {
    "retry": (queue_actions.retry, "attempted now"),
    "hold": (queue_actions.hold, "held: not attempted until released"),
    "release": (queue_actions.release, "released and attempted now"),
    "drop": (_drop, "dropped: not attempted any more"),
}


def _deliveries(count: int) -> str:
    return f"{count:,} {'delivery is' if count == 1 else 'deliveries are'}"
