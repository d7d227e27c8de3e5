"""Metrics in Prometheus' text format, or OpenMetrics' where the client asks for it: docs/metrics.md.

In: what the node's processes have counted (`relay.metrics`), gauges of the database, disk and processes.  Out: an
answer to `GET /metrics`. On the console's listener it needs an API key; a listener of its own (`[metrics] listen`) asks
for none, and answers `/healthz` and `/readyz` besides, also where the mail role runs alone.
"""

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from prometheus_client import exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from relay import __version__, metrics
from relay.config.schema import Config
from relay.shared_counters import SeriesKey
from relay.store.store import Store
from relay.store.views import gauges
from relay.store.views.gauges import GaugeReader, StoreGauges

PATH = "/metrics"
_US = 1_000_000
_STARTED_AT = time.time()  # of the node: this module is loaded before the roles are forked
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


LabelsType = TypeVar("LabelsType", bound=tuple[str, ...])


class MetricsPage:
    """Answers `GET /metrics`."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._gauges = GaugeReader(store)

    async def show(self, request: Request) -> Response:
        found = await self._gauges.read()
        encode, content_type = exposition.choose_encoder(request.headers.get("accept", ""))
        body = await asyncio.to_thread(lambda: encode(_Snapshot(self._config, found)))
        return Response(body, headers={"content-type": content_type, "cache-control": "no-store"})


def refusal_response(status: int, code: str, message: str, headers: dict[str, str]) -> Response:
    """For a request without a key that may read metrics."""
    return PlainTextResponse(f"{message}\n", status, headers)


class _Snapshot(Collector):
    """All metrics, as they are now."""

    def __init__(self, config: Config, store_values: StoreGauges | None) -> None:
        self._config = config
        self._store_values = store_values

    def collect(self) -> Iterator[Metric]:
        mode = "sandbox" if self._config.is_sandbox else self._config.delivery.mode
        yield _gauge("waypost_info", "What runs here.", {(__version__, mode): 1}, ("version", "mode"))
        yield _gauge("waypost_start_time_seconds", "When the server started.", {(): _STARTED_AT})
        yield from _counted_families(metrics.read_node())
        yield self._upstreams()
        yield from _process_families()
        yield from self._disk_families()
        yield _gauge("waypost_database_up", "1 if the database answers.", {(): int(self._store_values is not None)})
        if self._store_values is not None:
            yield from _store_families(self._store_values)

    def _upstreams(self) -> Metric:
        down = {
            key.labels: values[0]
            for key, values in metrics.read_node().items()
            if _is_of_metric(key, metrics.UPSTREAM_DOWN)
        }
        up = {(one.name,): int(not down.get((one.name,))) for one in self._config.upstream}
        return _gauge("waypost_upstream_up", "1 if no mail process counts it as down.", up, ("upstream",))

    def _disk_families(self) -> Iterator[Metric]:
        data_dir = self._config.relay.data_dir
        octets = {(): gauges.journal_octets(data_dir)}
        yield _gauge("waypost_journal_bytes", "Facts on disk that the database has not taken.", octets)
        with contextlib.suppress(OSError):
            usage = shutil.disk_usage(data_dir)
            yield _gauge("waypost_disk_free_bytes", "Free space where data_dir is.", {(): usage.free})
            yield _gauge("waypost_disk_size_bytes", "The size of that file system.", {(): usage.total})
        with contextlib.suppress(OSError):
            size = sum(path.stat().st_size for path in data_dir.glob("waypost.db*"))
            yield _gauge("waypost_database_bytes", "The SQLite database with its write-ahead log.", {(): size})


def _is_of_metric(key: SeriesKey, metric: metrics.CountedMetric) -> bool:
    return key.name == metric.name


def _gauge(
    name: str, meaning: str, values: Mapping[LabelsType, float], labels: tuple[str, ...] = ()
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _counted_families(counts: Mapping[SeriesKey, list[int]]) -> Iterator[Metric]:
    for metric in metrics.ALL:
        if metric is metrics.UPSTREAM_DOWN:
            continue  # shown as waypost_upstream_up
        values_by_labels = {key.labels: values for key, values in counts.items() if _is_of_metric(key, metric)}
        if not metric.labels:
            values_by_labels = values_by_labels or {(): [0] * (len(metric.bucket_bounds_us) + 2)}
        if metric.bucket_bounds_us:
            yield _histogram(metric, values_by_labels)
        elif metric.is_gauge:
            yield _gauge(
                metric.name, metric.meaning, {key: values[0] for key, values in values_by_labels.items()}, metric.labels
            )
        else:
            family = CounterMetricFamily(metric.name, metric.meaning, labels=metric.labels)
            for key, values in values_by_labels.items():
                family.add_metric(key, values[0])
            yield family


def _histogram(
    metric: metrics.CountedMetric, values_by_labels: Mapping[tuple[str, ...], list[int]]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    bounds = [*(f"{bound / _US:g}" for bound in metric.bucket_bounds_us), "+Inf"]
    for key, values in values_by_labels.items():
        total, buckets = 0, []
        for bound, count in zip(bounds, values, strict=False):  # after the buckets comes the sum
            total += count
            buckets.append((bound, total))
        family.add_metric(key, buckets, values[-1] / _US)
    return family


def _process_families() -> Iterator[Metric]:
    """Processor time, memory and open files of the roles' processes; nothing where there is no /proc."""
    cpu = CounterMetricFamily("waypost_process_cpu_seconds_total", "Processor time.", labels=("role", "pid"))
    memory = GaugeMetricFamily("waypost_process_resident_memory_bytes", "Memory in use.", labels=("role", "pid"))
    files = GaugeMetricFamily("waypost_process_open_fds", "Open file descriptors.", labels=("role", "pid"))
    for role, pid in metrics.read_processes():
        with contextlib.suppress(OSError):
            # proc(5): after the name in brackets come the fields from 3 on; 14 and 15 are times, 24 is memory.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            cpu.add_metric((role, str(pid)), (int(fields[11]) + int(fields[12])) / _TICKS)
            memory.add_metric((role, str(pid)), int(fields[21]) * _PAGE)
        with contextlib.suppress(OSError):  # the system does not show the files of a process that was root's
            files.add_metric((role, str(pid)), len(list(Path(f"/proc/{pid}/fd").iterdir())))
    yield from (cpu, memory, files)


def _store_families(store_values: StoreGauges) -> Iterator[Metric]:
    queue = {(status,): count for status, count in store_values.queue.items()}
    yield _gauge("waypost_queue", "Deliveries that wait, by status, and parked ones.", queue, ("status",))
    yield _gauge(
        "waypost_queue_oldest_seconds", "Age of the oldest delivery that waits.", {(): _age_s(store_values.oldest)}
    )
    untried = {(): _age_s(store_values.oldest_untried)}
    yield _gauge("waypost_queue_untried_seconds", "The same of those that were not attempted yet.", untried)
    suppressed = {(reason,): count for reason, count in store_values.suppressions.items()}
    yield _gauge("waypost_suppressions", "Suppressed addresses, by reason.", suppressed, ("reason",))
    waiting = {(one.id,): one.waiting for one in store_values.webhooks}
    yield _gauge("waypost_webhook_waiting", "Requests that wait, by webhook.", waiting, ("webhook",))
    up = {
        (one.id,): int(one.state == "on" and not one.is_failing) for one in store_values.webhooks if one.state != "off"
    }
    yield _gauge("waypost_webhook_up", "1 if the webhook accepts requests.", up, ("webhook",))


def _age_s(at: datetime | None) -> float:
    return max(0.0, (datetime.now(UTC) - at).total_seconds()) if at else 0.0
