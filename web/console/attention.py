"""What needs an operator now, for a strip on every page of the console.

In: the database, the disk and the configuration, looked at every ten seconds at most.  Out: problems, the worst first,
each with what to do and where. `find_attention` decides; it is pure.
"""

import asyncio
import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import urlencode

import sqlalchemy as sa
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from relay.config.schema import Config
from relay.store import upstream_states
from relay.store.console import api_keys
from relay.store.database import errors
from relay.store.store import Store
from relay.store.upstream_states import UpstreamSummary
from relay.store.views import gauges, queue_list, statistics
from relay.store.views.gauges import StoreGauges
from relay.store.views.queue_list import QueueTotals
from relay.store.views.statistics import Selection, Totals
from relay.store.webhooks import endpoints
from relay.store.webhooks.endpoints import WebhookStatus
from web.console import machine_view
from web.console.machine_view import ClockStep, ClockWatch

_MAX_AGE_S = 10.0
_MAX_WAIT_S = 2.0
_MAX_QUEUE_AGE = timedelta(hours=4)  # of what was attempted: greylisting takes less
_KEY_NOTICE = timedelta(days=7)  # before an API key ends
_KEY_MEMORY = timedelta(days=30)  # after it has ended
_CERTIFICATE_NOTICE = timedelta(days=14)  # before a certificate ends, as waypost doctor has it
_CLOCK_MEMORY = timedelta(hours=6)
_BLOCKED = ("reputation", "spam", "authentication")  # categories: a receiver refuses the sender, not the address
_MAX_BLOCKED, _MIN_ATTEMPTED = 0.05, 50  # share of a stream's deliveries; fewer prove nothing
_MB = 1 << 20


class AttentionItem(NamedTuple):
    """A problem, what to do about it, and the page that shows more."""

    is_bad: bool  # mail is held up; else it is a warning
    title: str
    since: datetime | None
    text: str
    href: str
    link: str


class AttentionView(NamedTuple):
    """The facts that `find_attention` decides from."""

    now: datetime
    upstreams: Sequence[str]  # that are configured
    states: dict[str, UpstreamSummary]
    queue: QueueTotals
    gauges: StoreGauges
    webhooks: Sequence[WebhookStatus]
    keys: Sequence[tuple[str, datetime]]  # API keys that end, with the time
    disk_free_octets: int
    certificates: Sequence[tuple[str, datetime]] = ()  # of listeners, with their end
    clock_step: ClockStep | None = None
    streams: Mapping[str, Totals] = MappingProxyType({})  # since yesterday's midnight, by stream


def find_attention(view: AttentionView, queue_age: timedelta, min_disk_free: int) -> list[AttentionItem]:
    """The problems, the worst first."""
    found = [*_upstream_items(view), *_queue_items(view, queue_age), *_webhook_items(view), *_key_items(view)]
    found += [*_certificate_items(view), *_clock_items(view), *_stream_items(view)]
    if view.disk_free_octets < min_disk_free:
        title = f"The disk is nearly full: {view.disk_free_octets // _MB:,} MB are left"
        text = "Free some space, or keep less ([privacy] keep_content). With a full disk new mail is refused for now."
        found.append(AttentionItem(True, title, None, text, "/settings#configuration", "Settings"))
    return sorted(found, key=lambda one: not one.is_bad)


def _upstream_items(view: AttentionView) -> list[AttentionItem]:
    items = []
    for name in view.upstreams:
        seen = view.states.get(name)
        if seen and seen.down_since:
            others = any(
                other != name and other in view.states and view.states[other].down_since is None
                for other in view.upstreams
            )
            does = (
                "Mail goes to another upstream that takes it, or waits."
                if others
                else "Mail for it waits in the queue."
            )
            tries = "Settings → Checks (waypost check --online) tries it and says what to do."
            text = f"{_to_sentence(seen.fault)} {does} {tries}"
            href = f"/upstreams#{name}"
            items.append(AttentionItem(True, f"Upstream {name} is out", seen.down_since, text, href, "The upstream"))
    if view.upstreams and not view.states:
        text = "Nothing is accepted or delivered. Start waypost serve, or look at its log. Right after a start, wait."
        items.append(AttentionItem(True, "No mail process reports", None, text, "/queue", "Queue"))
    return items


def _queue_items(view: AttentionView, queue_age: timedelta) -> list[AttentionItem]:
    items = []
    untried, oldest = view.gauges.oldest_untried, view.queue.oldest_at
    if untried and view.now - untried >= queue_age:
        text = "It was not attempted yet: more comes in than the upstreams take. Raise [[upstream]] connections."
        items.append(AttentionItem(True, "Mail waits for its first attempt", untried, text, "/queue", "Queue"))
    elif oldest and view.now - oldest >= _MAX_QUEUE_AGE and view.queue.waiting > view.queue.held:
        text = (
            "Receivers or upstreams refuse it for now. The queue shows their replies; it is attempted until it expires."
        )
        items.append(AttentionItem(False, "Mail waits in the queue", oldest, text, "/queue", "Queue"))
    if view.queue.parked:
        title = f"Parked: {view.queue.parked:,} deliver{'y' if view.queue.parked == 1 else 'ies'}"
        text = (
            "They ended the process three times, so they are not attempted. Report it, then try once more or drop them."
        )
        items.append(AttentionItem(True, title, None, text, "/queue?state=parked", "Parked mail"))
    return items


def _webhook_items(view: AttentionView) -> list[AttentionItem]:
    items = []
    for one in view.webhooks:
        row = one.webhook
        shown, href = endpoints.without_password(row.url), f"/webhooks/{row.id}"
        if row.state == "disabled":
            text = "It gets no events: it failed for a day, or was disabled by hand. Enable it when it works again."
            items.append(AttentionItem(True, f"Webhook {shown} is disabled", None, text, href, "The webhook"))
        elif row.state == "on" and row.failing_since:
            text = f"{one.waiting:,} events wait for it. Its log shows the requests and the answers."
            items.append(AttentionItem(False, f"Webhook {shown} fails", row.failing_since, text, href, "The webhook"))
    return items


def _key_items(view: AttentionView) -> list[AttentionItem]:
    items = []
    for name, ends in view.keys:
        if view.now - _KEY_MEMORY <= ends <= view.now:
            text = "Who uses it is refused. Make a new one, or revoke it."
            items.append(AttentionItem(False, f"API key {name} has expired", ends, text, "/settings#keys", "Keys"))
        elif view.now < ends <= view.now + _KEY_NOTICE:
            days = max(1, round((ends - view.now) / timedelta(days=1)))
            title = f"API key {name} ends within {days} day{'s' if days > 1 else ''}"
            text = "Make a new one, and give it to the program that uses it."
            items.append(AttentionItem(False, title, None, text, "/settings#keys", "Keys"))
    return items


def _certificate_items(view: AttentionView) -> list[AttentionItem]:
    items = []
    for listener, end in view.certificates:
        left = end - view.now
        if left < timedelta(0):
            title, text = f"The certificate of {listener} has ended", "Clients that verify it send no mail. Renew it."
            items.append(AttentionItem(True, title, end, text, "/settings#configuration", "Settings"))
        elif left < _CERTIFICATE_NOTICE:
            title = f"The certificate of {listener} ends in {max(1, left.days)} day{'s' if left.days > 1 else ''}"
            text = "Renew it: whatever renews certificates on this machine may have stopped."
            items.append(AttentionItem(False, title, None, text, "/settings#configuration", "Settings"))
    return items


def _clock_items(view: AttentionView) -> list[AttentionItem]:
    step = view.clock_step
    if step is None or view.now - step.at > _CLOCK_MEMORY:
        return []
    minutes = abs(step.offset) / timedelta(minutes=1)
    by = f"{minutes:.0f} min" if minutes >= 1 else f"{abs(step.offset).total_seconds():.0f} s"
    title = f"The clock was set {'forward' if step.offset > timedelta(0) else 'back'} by {by}"
    text = "Retries and expiry follow the clock. Look at time synchronisation: timedatectl; waypost doctor."
    return [AttentionItem(False, title, step.at, text, "/queue", "Queue")]


def _stream_items(view: AttentionView) -> list[AttentionItem]:
    items = []
    for stream, totals in view.streams.items():
        attempted = totals.delivered + totals.bounced
        blocked = sum(totals.categories.get(one, 0) for one in _BLOCKED)
        if attempted >= _MIN_ATTEMPTED and blocked / attempted >= _MAX_BLOCKED:
            name = f"the stream {stream}" if stream else "mail without a stream"
            title = f"Receivers block {name}: {blocked:,} of {attempted:,} deliveries"
            text = "Since yesterday, for reputation, spam or authentication. Bounces has their replies and what to do."
            query = urlencode({"stream": stream})
            items.append(AttentionItem(False, title, None, text, f"/bounces?{query}", "Bounces"))
    return items


def _to_sentence(text: str) -> str:
    return f"{text.strip().rstrip('.')}." if text.strip() else ""


class AttentionReader:
    """Reads the problems for all pages: one read at a time, and none while the last result is new enough."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store
        self._looking: asyncio.Task[None] | None = None
        self._looked_at_s = float("-inf")
        self._last: list[AttentionItem] = []
        self._clock = ClockWatch()

    async def list_items(self) -> list[AttentionItem]:
        """The problems, at most some seconds old; the last ones known while the database does not answer."""
        if time.monotonic() - self._looked_at_s < _MAX_AGE_S:
            return self._last
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._refresh())
        await asyncio.wait({self._looking}, timeout=_MAX_WAIT_S)
        return self._last

    def expire(self) -> None:
        """Makes the next page read the problems again, after a change."""
        self._looked_at_s = float("-inf")

    async def _refresh(self) -> None:
        try:
            self._last = await self._find_items()
            self._looked_at_s = time.monotonic()
        except Exception as error:  # noqa: BLE001  the page that waits for it is shown all the same
            errors.log_failure(error, "console")

    async def _find_items(self) -> list[AttentionItem]:
        now = datetime.now(UTC)
        free = shutil.disk_usage(self._config.relay.data_dir).free if self._config.relay.data_dir.exists() else 1 << 62
        names = [one.name for one in self._config.upstream]
        certificates = await asyncio.to_thread(machine_view.certificate_ends, self._config)
        view = await self._store.read(lambda connection: _read_view(connection, now, names, free))
        view = view._replace(certificates=certificates, clock_step=self._clock.find_last_step())
        return find_attention(view, self._config.alerts.queue_age, self._config.alerts.min_disk_free)


class AttentionStrip:
    """Puts the problems into `request.state.attention`, for pages behind the login."""

    def __init__(self, app: ASGIApp, reader: AttentionReader) -> None:
        self._app = app
        self._reader = reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and hasattr(Request(scope).state, "account"):
            if scope["method"] == "GET":
                Request(scope).state.attention = await self._reader.list_items()
            elif scope["method"] == "POST":
                self._reader.expire()
        await self._app(scope, receive, send)


def _read_view(connection: sa.Connection, now: datetime, upstreams: list[str], free_octets: int) -> AttentionView:
    keys = [(row["name"], row["expires_at"]) for row in api_keys.list_keys(connection) if row["expires_at"]]
    return AttentionView(
        now,
        upstreams,
        upstream_states.read_states(connection, now),
        queue_list.queue_totals(connection, now),
        gauges.read_gauges(connection),
        endpoints.list_webhook_status(connection),
        keys,
        free_octets,
        streams=statistics.read_groups(connection, Selection(_start_of_yesterday(now)), statistics.STREAM),
    )


def _start_of_yesterday(now: datetime) -> datetime:
    """The midnight at which yesterday began, UTC."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
