"""Upstreams: whether each can be reached, its connections and rate, and its latest replies.

In: a session that the gate let through.  Out: one page.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay.bounce import classify
from relay.bounce.classify import Phase
from relay.config.schema import Config
from relay.config.smtp import UpstreamConfig
from relay.reply import Reply
from relay.store import upstream_states
from relay.store.store import Store
from relay.store.upstream_states import UpstreamSummary
from relay.store.views import upstream_replies
from relay.store.views.upstream_replies import FailedReply, UpstreamReplies


class ReplyAdvice(NamedTuple):
    """A reply that was no success, and what to do about it."""

    reply: FailedReply
    advice: str


class UpstreamView(NamedTuple):
    """An upstream; a field is None if no process reported it, or if nothing was attempted."""

    config: UpstreamConfig
    summary: UpstreamSummary | None
    replies: UpstreamReplies | None
    failed: list[ReplyAdvice]  # the latest first
    per_minute: float  # attempts, lately
    advice: str


class UpstreamPages:
    """The route `/upstreams`."""

    def __init__(self, config: Config, store: Store, page: Callable[..., Response]) -> None:
        self._upstreams = config.upstream
        self._store = store
        self._render_page = page

    def routes(self) -> list[BaseRoute]:
        return [Route("/upstreams", self.list_upstreams)]

    async def list_upstreams(self, request: Request) -> Response:
        now = datetime.now(UTC)
        states, replies = await self._store.read(
            lambda connection: (
                upstream_states.read_states(connection, now),
                upstream_replies.read_replies(connection, now),
            )
        )
        views = [_view_upstream(one, states.get(one.name), replies.get(one.name), now) for one in self._upstreams]
        return self._render_page(
            request, "upstreams.html", "upstreams", upstreams=views, max_attempts=upstream_replies.MAX_ATTEMPTS
        )


def _view_upstream(
    config: UpstreamConfig, summary: UpstreamSummary | None, replies: UpstreamReplies | None, now: datetime
) -> UpstreamView:
    per_minute = 0.0
    if replies is not None and replies.recent:
        # Where the latest attempts began a moment ago, that moment is what they are counted over.
        span = min(upstream_replies.RATE_SPAN, max(now - replies.since, timedelta(minutes=1)))
        per_minute = replies.recent / (span / timedelta(minutes=1))
    failed = [ReplyAdvice(one, _reply_advice(one, config.name)) for one in (replies.failed if replies else ())]
    return UpstreamView(config, summary, replies, failed, per_minute, _state_advice(config, summary))


def _reply_advice(one: FailedReply, upstream: str) -> str:
    phase = Phase(one.phase) if one.phase in set(Phase) else Phase.RCPT
    verdict = classify.classify_reply(Reply(one.code, one.status, one.text), phase, upstream)
    return classify.advice_for(verdict.category)


def _state_advice(config: UpstreamConfig, summary: UpstreamSummary | None) -> str:
    """What an operator does about its state; empty where nothing is to be done."""
    if summary is None:
        return "No mail process speaks of it: start waypost serve, or look at its log. Right after a start, wait."
    if summary.down_since is not None:
        return (
            "Nothing is sent to it until a probe succeeds; then its mail goes on by itself. Settings → Checks "
            "(waypost check --online) tries it now, and says what to do."
        )
    if summary.is_untried:
        return (
            "No mail process has connected to it since it was started, so nothing shows yet whether it answers: "
            "the first mail for it will, and so do Settings → Checks (waypost check --online)."
        )
    if summary.waiting and summary.in_use >= config.connections * max(1, summary.workers):
        return f"All its connections are in use and mail waits for them: raise connections ({config.connections})."
    if summary.waiting and config.rate:
        return "Mail waits for its rate. Raise rate if the upstream allows more."
    return ""
