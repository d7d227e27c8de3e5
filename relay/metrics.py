"""What the processes of a node count: one function for each fact, and names after Prometheus' conventions.

docs/metrics.md has a row for each metric, and a test compares the two. `web.metrics` shows them. Times are counted in
whole microseconds and shown in seconds.
"""

import os
from typing import NamedTuple

from relay import shared_counters
from relay.shared_counters import SeriesKey, SharedCounters

_US = 1_000_000


class CountedMetric(NamedTuple):
    """A counter, gauge or histogram that processes count, with its labels and meaning."""

    name: str
    labels: tuple[str, ...]
    meaning: str
    bucket_bounds_us: tuple[int, ...] = ()  # of a histogram
    is_gauge: bool = False


def _bounds(*bounds_ms: float) -> tuple[int, ...]:
    return tuple(round(bound * 1000) for bound in bounds_ms)


ACCEPTED = CountedMetric("waypost_messages_accepted_total", ("stream",), "Messages accepted from clients.")
ACCEPTED_BYTES = CountedMetric("waypost_messages_accepted_bytes_total", (), "Their octets.")
CONNECTIONS = CountedMetric("waypost_smtp_connections_total", (), "SMTP connections that clients opened.")
OPEN_CONNECTIONS = CountedMetric("waypost_smtp_connections_open", (), "SMTP connections open now.", is_gauge=True)
REFUSED = CountedMetric("waypost_smtp_refused_total", ("code",), "Refusals to SMTP clients, by reply code.")
UNTOUCHED = CountedMetric(
    "waypost_rewrite_untouched_total", ("reason",), "Messages with parts that were left as they came."
)
DELIVERIES = CountedMetric(
    "waypost_deliveries_total", ("status", "category", "upstream"), "Outcomes of deliveries, one for each attempt."
)
DELIVERY_TIME = CountedMetric(
    "waypost_delivery_seconds",
    ("upstream",),
    "From the start of an attempt to the upstream's reply, by upstream.",
    _bounds(5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000),
)
UPSTREAM_DOWN = CountedMetric("waypost_upstream_down", ("upstream",), "Processes for which it is down.", is_gauge=True)
LATE_REPORTS = CountedMetric("waypost_late_reports_total", ("source",), "Reports that came by mail or webhook.")
HITS = CountedMetric("waypost_hits_total", ("type", "verdict"), "Opens and clicks, by the verdict when they came.")
REDIRECT_TIME = CountedMetric(
    "waypost_redirect_seconds",
    (),
    "From a click's request to the redirect.",
    _bounds(1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500),
)
PIXEL_TIME = CountedMetric(
    "waypost_pixel_seconds", (), "From a pixel's request to the image.", REDIRECT_TIME.bucket_bounds_us
)
BAD_TOKENS = CountedMetric("waypost_bad_tokens_total", ("kind",), "Requests for links that are not ours.")
WEBHOOK_REQUESTS = CountedMetric("waypost_webhook_requests_total", ("webhook", "result"), "Requests to webhooks.")
LOGINS_FAILED = CountedMetric("waypost_logins_failed_total", ("door",), "Wrong passwords and keys.")
FAULTS = CountedMetric("waypost_faults_total", ("where",), "Errors of Waypost itself; the log has each.")
ROLE_DEATHS = CountedMetric("waypost_role_deaths_total", ("role",), "Processes that ended by themselves.")
PROCESS = CountedMetric(
    "waypost_process", ("role",), "The process's id.", is_gauge=True
)  # not shown; /proc has the rest

ALL = (
    ACCEPTED,
    ACCEPTED_BYTES,
    CONNECTIONS,
    OPEN_CONNECTIONS,
    REFUSED,
    UNTOUCHED,
    DELIVERIES,
    DELIVERY_TIME,
    UPSTREAM_DOWN,
    LATE_REPORTS,
    HITS,
    REDIRECT_TIME,
    PIXEL_TIME,
    BAD_TOKENS,
    WEBHOOK_REQUESTS,
    LOGINS_FAILED,
    FAULTS,
    ROLE_DEATHS,
)
_GAUGES = [one.name for one in (*ALL, PROCESS) if one.is_gauge]

_own = SharedCounters()  # this process's
_node = [_own]


# --- processes


def share(count: int) -> list[SharedCounters]:
    """Memory for that many processes, which are still to be forked; this one keeps its own."""
    made = [SharedCounters() for _ in range(count)]
    _node.extend(made)
    return made


def count_in(memory: SharedCounters, role: str) -> None:
    """This process, just forked, counts there from now on."""
    global _own
    memory.take_over(_GAUGES)
    _own = memory
    _own.set(PROCESS.name, role, value=os.getpid())


def read_node() -> dict[SeriesKey, list[int]]:
    """The sums over all processes of this node."""
    return shared_counters.add_up(_node)


def read_processes() -> list[tuple[str, int]]:
    """Role and process id of each process that counts."""
    found = []
    for one in _node:
        for key, [pid] in ((key, values) for key, values in one.read().items() if key.name == PROCESS.name):
            found.append((key.labels[0], pid))
    return found


# --- mail in


def message_accepted(stream: str, octets: int) -> None:
    _own.add(ACCEPTED.name, stream)
    _own.add(ACCEPTED_BYTES.name, amount=octets)


def connection_opened() -> None:
    _own.add(CONNECTIONS.name)
    _own.add(OPEN_CONNECTIONS.name)


def connection_closed() -> None:
    _own.add(OPEN_CONNECTIONS.name, amount=-1)


def refused(code: int) -> None:
    _own.add(REFUSED.name, str(code))


def left_untouched(reason: str) -> None:
    _own.add(UNTOUCHED.name, reason)


# --- mail out


def delivery_attempted(status: str, category: str, upstream: str) -> None:
    _own.add(DELIVERIES.name, status, category, upstream)


def upstream_replied(upstream: str, took_ms: int) -> None:
    _own.observe(DELIVERY_TIME.name, upstream, bounds=DELIVERY_TIME.bucket_bounds_us, value=took_ms * 1000)


def upstream_down(upstream: str, is_down: bool) -> None:
    _own.set(UPSTREAM_DOWN.name, upstream, value=int(is_down))


# --- what comes back


def late_reports(source: str, count: int) -> None:
    """`source`: mail, or the provider whose webhook it was."""
    _own.add(LATE_REPORTS.name, source, amount=count)


def hit(type_: str, verdict: str) -> None:
    _own.add(HITS.name, type_, verdict)


def redirected(took_s: float) -> None:
    _own.observe(REDIRECT_TIME.name, bounds=REDIRECT_TIME.bucket_bounds_us, value=round(took_s * _US))


def pixel_sent(took_s: float) -> None:
    _own.observe(PIXEL_TIME.name, bounds=PIXEL_TIME.bucket_bounds_us, value=round(took_s * _US))


def bad_token(kind: str) -> None:
    _own.add(BAD_TOKENS.name, kind)


def webhook_request(webhook: str, result: str) -> None:
    """`result`: accepted, refused or failed."""
    _own.add(WEBHOOK_REQUESTS.name, webhook, result)


# --- the program


def login_failed(door: str) -> None:
    _own.add(LOGINS_FAILED.name, door)


def fault(where: str) -> None:
    _own.add(FAULTS.name, where)


def role_died(role: str) -> None:
    _own.add(ROLE_DEATHS.name, role)
