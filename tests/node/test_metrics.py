"""Metrics: what a node's processes count, summed, in Prometheus' format; the dashboard and the rules that read them."""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from relay import metrics
from relay.shared_counters import SeriesKey, SharedCounters, add_up
from tests.upstream import ScriptedUpstream
from tests.user_agents import PHONE_FIELDS
from tests.waiting import until
from tests.waypost_server import ROOT, Waypost, free_port, html_mail, tracking_urls

Sample = tuple[str, frozenset[tuple[str, str]]]
_NAME = re.compile(r"\bwaypost_[a-z_]+")
NEEDS_PROMTOOL = pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool: apt-get install prometheus")


class Node:
    """A node of two mail processes, in front of a scripted upstream, with metrics on a listener of their own."""

    def __init__(self, folder: Path, upstream: ScriptedUpstream) -> None:
        self.port = free_port()
        tables = f'[metrics]\nlisten = "127.0.0.1:{self.port}"\n[delivery]\nretry = ["1h"]\n'
        self.upstream = upstream
        self.relay = Waypost(folder, upstream.port, tables, relay="workers = 2")

    def page(self, path: str = "/metrics") -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}")

    def value(self, name: str, **labels: str) -> float:
        """The sum of all samples of that name with these labels."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.page().text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def until(self, value: float, name: str, **labels: str) -> None:
        until(lambda: self.value(name, **labels), fits=lambda found: found == value, every_s=0.1)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    upstream = ScriptedUpstream()
    one = Node(tmp_path_factory.mktemp("node"), upstream)
    with one.relay:
        yield one
    upstream.close()


def test_what_both_mail_processes_do_is_summed(node: Node) -> None:
    for n in range(8):
        node.relay.send(html_mail(header="X-Waypost-Stream: summed\r\n"), f"summed{n}@example.com")
    assert node.value("waypost_messages_accepted_total", stream="summed") == 8
    assert node.value("waypost_deliveries_total", status="delivered", upstream="scripted") >= 8
    assert node.value("waypost_delivery_seconds_count", upstream="scripted") >= 8
    assert node.value("waypost_delivery_seconds_bucket", upstream="scripted", le="+Inf") >= 8
    assert 0 < node.value("waypost_delivery_seconds_sum", upstream="scripted") < 60
    assert node.value("waypost_upstream_up", upstream="scripted") == 1
    assert node.value("waypost_process_resident_memory_bytes", role="smtp") > 2e7


def test_failures_have_their_category_and_refusals_their_code(node: Node) -> None:
    node.relay.send(html_mail(), "e550-5.1.1@example.com")
    with pytest.raises(AssertionError, match="malformed"):
        node.relay.send(html_mail(), "not an address")
    node.relay.send(html_mail(), "e451-4.3.0@example.com")
    assert node.value("waypost_deliveries_total", status="bounced", category="user_unknown") == 1
    assert node.value("waypost_deliveries_total", status="deferred") == 1
    assert node.value("waypost_smtp_refused_total", code="553") == 1
    node.until(0, "waypost_smtp_connections_open")
    assert node.value("waypost_smtp_connections_total") >= 3


def test_clicks_and_opens_are_counted_and_timed(node: Node) -> None:
    node.relay.send(html_mail(), "hits@example.com")
    urls = tracking_urls(node.upstream.to("hits@example.com")[0].octets)
    for url in (urls["o"][0], urls["c"][0]):
        node.relay.get(url, headers=PHONE_FIELDS)
    node.relay.get("/c/forged")
    assert node.value("waypost_hits_total", type="opened", verdict="human") == 1
    assert node.value("waypost_hits_total", type="clicked", verdict="human") == 1
    assert node.value("waypost_redirect_seconds_count") == node.value("waypost_pixel_seconds_count") == 1
    assert node.value("waypost_bad_tokens_total", kind="c") == 1


def test_counters_go_on_where_a_killed_process_was(node: Node) -> None:
    for n in range(4):
        node.relay.send(html_mail(header="X-Waypost-Stream: killed\r\n"), f"killed{n}@example.com")
    for pid in node.relay.children()[:2]:
        os.kill(pid, signal.SIGKILL)
    node.until(2, "waypost_role_deaths_total", role="smtp")
    node.relay.send(html_mail(header="X-Waypost-Stream: killed\r\n"), "killed@example.com")
    assert node.value("waypost_messages_accepted_total", stream="killed") == 5


def test_an_upstream_that_is_out_shows(tmp_path: Path) -> None:
    upstream = ScriptedUpstream()
    one = Node(tmp_path, upstream)
    upstream.close()
    one.relay.config.write_text(one.relay.config.read_text().replace('tls = "off"', 'tls = "off"\noutages = 1'))
    with one.relay:
        one.relay.send(html_mail(), "waits@example.com")
        one.until(0, "waypost_upstream_up", upstream="scripted")
        one.until(1, "waypost_queue", status="deferred")
        assert one.value("waypost_queue_oldest_seconds") > 0
        with one.relay.locked():  # SQLite's readers go on
            assert one.value("waypost_database_up") == 1


def test_every_metric_has_its_row_and_every_row_its_metric(node: Node) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    text = node.page().text
    shown = set(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    assert {(name, kind) for name, kind, _ in rows} == shown
    labels = {name: set(re.findall(r"`(\w+)`", cell)) for name, _, cell in rows}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = re.sub(r"_(bucket|count|sum)$", "", sample.name) if family.type == "histogram" else sample.name
            assert set(sample.labels) - {"le"} == labels[name]


def test_a_client_that_knows_openmetrics_gets_it(node: Node) -> None:
    accept = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
    page = httpx.get(f"http://127.0.0.1:{node.port}/metrics", headers=accept)
    assert page.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    families = openmetrics.text_string_to_metric_families(page.text)  # type: ignore[no-untyped-call]
    assert len(list(families)) > 25


def test_on_the_console_metrics_need_a_key_with_that_scope(node: Node) -> None:
    url = f"{node.relay.console}/metrics"
    refused = httpx.get(url)
    assert refused.status_code == 401 and "api-key create" in refused.text
    for scope, status in (("metrics", 200), ("read", 200), ("queue", 403)):
        key = re.findall(r"wp_\S+", node.relay.cli("api-key", "create", f"by-{scope}", "--scope", scope).decode())[0]
        answer = httpx.get(url, headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == status
        assert ("waypost_info" in answer.text) == (status == 200)
        if scope == "metrics":
            other = httpx.get(f"{node.relay.console}/api/v1/webhooks", headers={"Authorization": f"Bearer {key}"})
            assert other.status_code == 403


def test_the_mail_role_alone_shows_metrics_and_its_health(tmp_path: Path) -> None:
    port = free_port()
    relay = Waypost(tmp_path, tables=f'[metrics]\nlisten = "127.0.0.1:{port}"\n', relay="workers = 2")
    relay.start("--only", "smtp")
    try:
        assert relay.ready == f"ready smtp=127.0.0.1:{relay.port} metrics=http://127.0.0.1:{port}/metrics"
        relay.send(html_mail(), "alone@example.com")
        pages = {path: httpx.get(f"http://127.0.0.1:{port}{path}") for path in ("/metrics", "/healthz", "/readyz")}
        assert [page.status_code for page in pages.values()] == [200, 200, 200]
        assert (
            'waypost_deliveries_total{category="",status="delivered",upstream="sandbox"} 1.0' in pages["/metrics"].text
        )
        assert httpx.get(f"http://127.0.0.1:{port}/other").status_code == 404
    finally:
        assert relay.stop() == 0


def test_names_that_clients_invent_are_bounded_in_number_and_length() -> None:
    counters = SharedCounters()
    for n in range(5000):
        counters.add("some_total", f"{n} \0" + "x" * 10_000)
    found = counters.read()
    assert len(found) <= 401 and sum(value for [value] in found.values()) == 5000
    assert found[SeriesKey("some_total", ("other",))][0] >= 4600
    assert max(len(label) for key in found for label in key.labels) <= 100


def test_a_successor_keeps_counters_and_forgets_gauges() -> None:
    memory, other = SharedCounters(), SharedCounters()
    memory.add("sent_total", "a", amount=3)
    memory.set("open", value=5)
    memory.observe("took", bounds=(10, 20), value=20)
    memory.take_over(["open"])
    memory.add("sent_total", "a")
    other.add("sent_total", "a", amount=6)
    memory.observe("took", bounds=(10, 20), value=21)
    total = add_up([memory, other])
    assert total == {
        SeriesKey("sent_total", ("a",)): [10],
        SeriesKey("open", ()): [0],
        SeriesKey("took", ()): [0, 1, 1, 41],
    }


@NEEDS_PROMTOOL
def test_promtool_finds_no_fault_in_the_page(node: Node) -> None:
    done = subprocess.run(["promtool", "check", "metrics"], input=node.page().content, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@NEEDS_PROMTOOL
def test_the_alert_rules_hold_what_their_tests_say() -> None:
    rules = "docs/prometheus/waypost-alerts"
    for words in (["check", "rules", f"{rules}.yml"], ["test", "rules", f"{rules}.test.yml"]):
        done = subprocess.run(["promtool", *words], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


def _dashboard_queries() -> list[str]:
    dashboard = json.loads((ROOT / "docs/grafana/waypost-dashboard.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


@NEEDS_PROMTOOL
def test_prometheus_can_read_the_dashboards_queries(tmp_path: Path) -> None:
    texts = [query.replace("$__rate_interval", "5m") for query in _dashboard_queries()]
    rules = [{"record": f"panel:{n}", "expr": text} for n, text in enumerate(texts)]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # JSON is YAML
    done = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_dashboard_and_rules_ask_for_metrics_that_there_are() -> None:
    known = set(_NAME.findall((ROOT / "docs/metrics.md").read_text()))
    known |= {f"{one.name}_bucket" for one in metrics.ALL if one.bucket_bounds_us}
    asked = set(
        _NAME.findall((ROOT / "docs/prometheus/waypost-alerts.yml").read_text() + " ".join(_dashboard_queries()))
    )
    assert asked <= known and len(asked) > 20
