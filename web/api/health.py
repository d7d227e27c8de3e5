"""The API's health: `GET health`, whether anything needs an operator.

In: requests behind the API's gate.  Out: JSON, in the form of `web.api.answers`.
"""

from datetime import UTC, datetime
from typing import NamedTuple

import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay import __version__
from relay.config.schema import Config
from relay.store import upstream_states
from relay.store.store import Store
from relay.store.upstream_states import UpstreamSummary
from relay.store.views import queue_list
from relay.store.views.json_objects import JsonObject, format_time
from relay.store.views.queue_list import QueueTotals
from relay.store.webhooks import endpoints
from relay.store.webhooks.endpoints import WebhookStatus
from web.api.answers import json_response
from web.api.openapi import documented
from web.api.schemas import HealthAnswer

_MAX_QUEUE_AGE_S = 3600.0  # of the oldest mail that waits; an hour of greylisting is usual


class _Findings(NamedTuple):
    queue: QueueTotals
    upstreams: dict[str, UpstreamSummary]
    webhooks: list[WebhookStatus]


class HealthApi:
    """The endpoint `health`."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store

    def routes(self) -> list[BaseRoute]:
        return [Route("/health", self.show_health)]

    @documented("Upstreams, queue and webhooks, and what needs somebody", response=HealthAnswer)
    async def show_health(self, request: Request) -> Response:
        now = datetime.now(UTC)
        found = await self._store.read(lambda connection: _read_findings(connection, now))
        upstreams = [_upstream_object(one.name, found.upstreams.get(one.name)) for one in self._config.upstream]
        queue = _queue_object(found.queue, now)
        webhooks = [_webhook_object(one) for one in found.webhooks]
        problems = [*_upstream_problems(upstreams), *_queue_problems(queue), *_webhook_problems(webhooks)]
        return json_response(
            {
                "status": "degraded" if problems else "ok",
                "problems": problems,
                "version": __version__,
                "mode": "sandbox" if self._config.is_sandbox else self._config.delivery.mode,
                "at": format_time(now),
                "upstreams": upstreams,
                "queue": queue,
                "webhooks": webhooks,
            }
        )


def _read_findings(connection: sa.Connection, now: datetime) -> _Findings:
    return _Findings(
        queue_list.queue_totals(connection, now),
        upstream_states.read_states(connection, now),
        endpoints.list_webhook_status(connection),
    )


def _upstream_object(name: str, summary: UpstreamSummary | None) -> JsonObject:
    if summary is None:
        blank: JsonObject = {"down_since": None, "fault": None, "at": None, "connections": 0, "waiting": 0}
        blank |= {"tried": False, "connected_at": None}
        return {"name": name, "state": "unknown"} | blank
    return {
        "name": name,
        "state": "up" if summary.down_since is None else "down",
        "down_since": format_time(summary.down_since),
        "fault": summary.fault if summary.down_since else None,
        "at": format_time(summary.at),
        "connections": summary.connections,
        "waiting": summary.waiting,
        "tried": not summary.is_untried,
        "connected_at": format_time(summary.connected_at),
    }


def _queue_object(totals: QueueTotals, now: datetime) -> JsonObject:
    age_s = max(0.0, (now - totals.oldest_at).total_seconds()) if totals.oldest_at else 0.0
    return totals._asdict() | {"oldest_at": format_time(totals.oldest_at), "oldest_s": round(age_s, 3)}


def _webhook_object(one: WebhookStatus) -> JsonObject:
    row = one.webhook
    return {
        "id": row.id,
        "url": endpoints.without_password(row.url),
        "state": row.state,
        "waiting": one.waiting,
        "failing_since": format_time(row.failing_since),
    }


def _upstream_problems(upstreams: list[JsonObject]) -> list[str]:
    found = []
    for one in upstreams:
        if one["state"] == "down":
            found.append(f"the upstream {one['name']} is down since {one['down_since']}: {one['fault']}")
        elif one["state"] == "unknown":
            found.append(f"no mail process speaks of the upstream {one['name']}")
    return found


def _queue_problems(queue: JsonObject) -> list[str]:
    found = []
    if queue["oldest_s"] > _MAX_QUEUE_AGE_S:
        found.append(f"mail waits since {queue['oldest_at']}")
    if queue["parked"]:
        found.append(f"{queue['parked']} deliveries are parked: they ended the process three times")
    return found


def _webhook_problems(webhooks: list[JsonObject]) -> list[str]:
    return [
        f"the webhook {one['url']} is disabled by its failures" for one in webhooks if one["state"] == "disabled"
    ] + [
        f"the webhook {one['url']} fails since {one['failing_since']}"
        for one in webhooks
        if one["state"] == "on" and one["failing_since"]
    ]
