"""The page of upstreams, and what the strip on every page says of the machine around them."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from relay.clock_step import ClockStepDetector
from relay.config.schema import Config
from relay.store import upstream_states
from relay.store.database.tables import Status
from relay.store.queue.queue_facts import AttemptRecord
from relay.store.upstream_states import ReportedState
from relay.store.views.statistics import Totals
from tests.waiting import until
from tests.web.scene import Scene
from web.console import attention, machine_view
from web.console.attention import AttentionView
from web.console.machine_view import ClockStep

EVIL = "<script>alert('x')</script>"
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    upstreams = [
        {"name": "primary", "address": "127.0.0.1:1", "tls": "off", "connections": 5},
        {"name": "backup", "address": "127.0.0.1:2", "tls": "off", "rate": "2/s"},
        {"name": "unheard", "address": "127.0.0.1:3", "tls": "off"},
    ]
    given: dict[str, Any] = {"upstream": upstreams}
    with Scene(tmp_path_factory.mktemp("upstreams"), given) as running:
        yield running


def card(page: str, name: str) -> str:
    """The text of an upstream's card."""
    found = re.search(rf'<section class="card upstream" id="{name}">(.*?)</section>', page, re.DOTALL)
    assert found
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", found[1]))


def report(scene: Scene, worker: str, *states: ReportedState) -> None:
    now = datetime.now(UTC)
    scene.write(lambda connection: upstream_states.report_states(connection, worker, states, now))


def test_each_upstream_says_how_it_is_what_goes_on_and_what_to_do(scene: Scene, browser: httpx.Client) -> None:
    since = datetime.now(UTC) - timedelta(minutes=12)
    report(
        scene,
        "one",
        ReportedState("primary", since, f"connection refused {EVIL}", 0, 0, 3),
        ReportedState("backup", None, "", 2, 1, 1),
    )
    report(scene, "two", ReportedState("primary", None, "", 1, 2, 0), ReportedState("backup", None, "", 1, 0, 0))
    page = browser.get("/upstreams").text
    assert EVIL not in page
    primary, backup, unheard = (card(page, name) for name in ("primary", "backup", "unheard"))
    assert "12 min ago, for 1 of 2 processes" in primary and "connection refused" in primary
    assert "Nothing is sent to it until a probe succeeds" in primary
    assert "Connections in use 1 2 idle, of 10 at most" in primary and "Waiting for a connection 3" in primary
    assert "Connections in use 3 1 idle" in backup and "at most 120" in backup and "Raise rate" in backup
    assert "No mail process speaks of it" in unheard and "No mail was attempted with it yet" in unheard


def test_replies_that_were_no_success_stand_together_with_advice(scene: Scene, browser: httpx.Client) -> None:
    soft = {"kind": "soft", "next_attempt_at": datetime.now(UTC) + timedelta(hours=1)}
    for n in range(3):
        text = f"4.7.1 <r{n}@example.com> Greylisted, come back in {300 + n} seconds"
        tried = AttemptRecord("backup", "rcpt", 451, "4.7.1", text, 10)
        scene.file(f"r{n}@example.com", status=Status.DEFERRED, attempt=tried, outcome=soft)
    gone = AttemptRecord("backup", "rcpt", 550, "5.1.1", f"5.1.1 no such user {EVIL}", 10)
    message = scene.file("gone@example.com", status=Status.BOUNCED, attempt=gone, outcome={"kind": "hard"})
    scene.file("fine@example.com", attempt=AttemptRecord("backup", "dot", 250, "2.0.0", "queued", 10))
    lost = AttemptRecord("backup", "connect", 0, "", "Connection reset by peer", 10)
    scene.file("lost@example.com", status=Status.DEFERRED, attempt=lost, outcome=soft)
    page = browser.get("/upstreams").text
    backup = card(page, "backup")
    assert EVIL not in page and f'href="/messages/{message}"' in page
    assert "1 of the latest 6 attempts accepted" in backup
    assert backup.index("Connection reset") < backup.index("no such user") < backup.index("Greylisted")
    assert "no reply" in backup and "take the address off your lists" in backup
    assert re.search(r"r2@example\.com&gt; Greylisted, come back in 302 seconds rcpt 3 ", backup)
    assert "r0@example.com" not in backup


def test_a_sandbox_says_that_it_has_no_upstream(tmp_path: Path) -> None:
    with Scene(tmp_path) as scene, scene.sign_in() as client:
        assert "This is a sandbox" in client.get("/upstreams").text


# --- the strip


def view(**facts: Any) -> AttentionView:  # Any: fields of the view
    blank: dict[str, Any] = {"now": NOW, "upstreams": [], "states": {}, "webhooks": [], "keys": []}
    return AttentionView(**blank | {"queue": _Nothing(), "gauges": _Nothing(), "disk_free_octets": 1 << 50} | facts)


class _Nothing:
    """A queue in which nothing waits."""

    oldest_untried = oldest_at = None
    waiting = held = parked = 0


def problems(**facts: Any) -> list[tuple[bool, str]]:  # Any: as above
    found = attention.find_attention(view(**facts), timedelta(hours=1), 1)
    return [(one.is_bad, one.title) for one in found]


@pytest.mark.parametrize(
    ("left", "items"),
    [
        (timedelta(days=30), []),
        (timedelta(days=13, hours=1), [(False, "The certificate of 127.0.0.1:465 ends in 13 days")]),
        (timedelta(hours=1), [(False, "The certificate of 127.0.0.1:465 ends in 1 day")]),
        (timedelta(hours=-1), [(True, "The certificate of 127.0.0.1:465 has ended")]),
    ],
)
def test_a_certificate_that_ends_soon_needs_somebody(left: timedelta, items: list[tuple[bool, str]]) -> None:
    assert problems(certificates=[("127.0.0.1:465", NOW + left)]) == items


def test_a_clock_that_was_set_is_said_for_some_hours() -> None:
    just_now = NOW - timedelta(minutes=1)
    assert problems(clock_step=ClockStep(just_now, timedelta(hours=-3))) == [
        (False, "The clock was set back by 180 min")
    ]
    assert problems(clock_step=ClockStep(just_now, timedelta(seconds=20))) == [
        (False, "The clock was set forward by 20 s")
    ]
    assert problems(clock_step=ClockStep(NOW - timedelta(hours=7), timedelta(hours=1))) == []


def test_a_step_of_the_clock_is_seen_against_one_that_goes_on() -> None:
    readings = iter([(NOW, 0.0), (NOW + timedelta(seconds=10), 10.0), (NOW + timedelta(hours=1), 20.0)])
    now, elapsed = NOW, 0.0

    def read() -> datetime:
        nonlocal now, elapsed
        now, elapsed = next(readings)
        return now

    detector = ClockStepDetector(read, lambda: elapsed)
    assert detector.step() == timedelta()
    assert detector.step() == timedelta(hours=1, seconds=-20)
    assert machine_view.ClockWatch().find_last_step() is None


@pytest.mark.parametrize(
    ("delivered", "categories", "is_blocked"),
    [
        (90, {"reputation": 4, "spam": 2, "user_unknown": 4}, True),
        (96, {"reputation": 4}, False),  # 4 %
        (10, {"reputation": 10}, False),  # too few to say
        (90, {"user_unknown": 10}, False),
    ],
)
def test_a_stream_that_receivers_block_needs_somebody(
    delivered: int, categories: dict[str, int], is_blocked: bool
) -> None:
    totals = Totals(delivered=delivered, bounced=sum(categories.values()), categories=categories)
    found = problems(streams={"news": totals})
    assert found == ([(False, "Receivers block the stream news: 6 of 100 deliveries")] if is_blocked else [])


def test_the_strip_reads_the_listeners_certificate(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "relay.example")])
    end = datetime.now(UTC) + timedelta(days=3, hours=1)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(end - timedelta(days=90)).not_valid_after(end).sign(key, hashes.SHA256())
    )  # fmt: skip
    (tmp_path / "cert.pem").write_bytes(made.public_bytes(encoding=_pem()))
    listen = {"address": "127.0.0.1:2465", "tls": "implicit", "certificate": str(tmp_path / "cert.pem")}
    given: dict[str, Any] = {"listen": [listen | {"key": str(tmp_path / "cert.pem")}]}
    with Scene(tmp_path, given) as scene, scene.sign_in() as client:
        # A page does not wait long for the strip.
        until(lambda: "The certificate of 127.0.0.1:2465 ends in 3 days" in client.get("/").text)
    (tmp_path / "cert.pem").write_text("no certificate")
    assert machine_view.certificate_ends(Config.model_validate(given)) == []


def _pem() -> Any:  # Any: an enumeration of cryptography
    from cryptography.hazmat.primitives.serialization import Encoding

    return Encoding.PEM
