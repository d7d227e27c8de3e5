"""Alerts: one for each problem that lasts, another after a while, and one when it is over."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from relay.alerts import (
    AlertBook,
    NodeView,
    Notice,
    Problem,
    SharedView,
    find_node_problems,
    find_shared_problems,
)
from tests.receiver import Receiver, receiving
from tests.upstream import ScriptedUpstream
from tests.waiting import until
from tests.waypost_server import ROOT, Waypost, html_mail

pytest.importorskip("apprise", reason="pip install 'waypost[alerts]'")
QUIET = SharedView([], timedelta(0), [])
PROBLEM = Problem("Something is wrong", "Do something.")


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


def relay_with_alerts(
    folder: Path, receiver: Receiver, path: str, upstream: int | None = None, keys: str = ""
) -> Waypost:
    urls = receiver.url.replace("http://", "json://") + path
    tables = f'[alerts]\nurls = ["{urls}"]\nevery = "1s"\n{keys}\n[delivery]\nretry = ["1s"]\n'
    return Waypost(folder, upstream, tables)


def wait_for_alert(receiver: Receiver, path: str, words: str) -> dict[str, str]:
    """The first message with these words."""

    def messages() -> list[dict[str, str]]:
        return [one.json for one in receiver.at(path)]

    return until(lambda: [one for one in messages() if words in one["title"]], messages)[0]


def test_an_alert_is_sent_when_an_upstream_is_out_and_when_it_is_back(tmp_path: Path, receiver: Receiver) -> None:
    upstream = ScriptedUpstream()
    relay = relay_with_alerts(tmp_path, receiver, "/out", upstream.port, 'queue_age = "2s"')
    relay.config.write_text(relay.config.read_text().replace('tls = "off"', 'tls = "off"\noutages = 1'))
    upstream.stop()
    with relay:
        relay.send(html_mail(), "waits@example.com")
        message = wait_for_alert(receiver, "/out", "Upstream scripted is out")
        assert message["type"] == "failure" and "upstream-out" in message["message"]
        wait_for_alert(receiver, "/out", "Mail has waited for 0 min and was not attempted yet")
        upstream.start()
        assert wait_for_alert(receiver, "/out", "over: Upstream scripted is out")["type"] == "success"
        wait_for_alert(receiver, "/out", "over: Mail has waited")
        assert len([one for one in receiver.at("/out") if ": Upstream scripted" in one.json["title"]]) == 2
        assert "alert-sent problem=" in relay.read_log()
    upstream.close()


def test_alerts_are_sent_of_a_disabled_webhook_and_a_full_disk(tmp_path: Path, receiver: Receiver) -> None:
    with relay_with_alerts(tmp_path, receiver, "/other", keys='min_disk_free = "1000000GB"') as relay:
        relay.cli("webhooks", "add", f"{receiver.url}/ok")
        relay.sql("UPDATE webhook SET state = 'disabled'")
        assert "waypost webhooks enable" in wait_for_alert(receiver, "/other", "is disabled")["message"]
        wait_for_alert(receiver, "/other", "The disk is nearly full")


def test_an_alert_that_no_service_took_is_sent_again(tmp_path: Path, receiver: Receiver) -> None:
    with relay_with_alerts(tmp_path, receiver, "/e500-n1", keys='min_disk_free = "1000000GB"') as relay:
        assert len(receiver.wait("/e500-n1", 2)) >= 2
        relay.wait_for_log("alert-sent")
        assert relay.read_log().count("error alert-failed problem=disk service=json") == 1


def test_the_command_tries_each_url(tmp_path: Path, receiver: Receiver) -> None:
    relay = relay_with_alerts(tmp_path, receiver, "/tried")
    assert relay.cli("alerts", "test") == b"sent  json://\xe2\x80\xa6\n"
    assert receiver.at("/tried")[0].json["title"].endswith("this is a test")
    relay.config.write_text(relay.config.read_text().replace("/tried", "/e500"))
    assert b"1 of 1 did not take it" in relay.cli("alerts", "test", status=1)
    relay.config.write_text(relay.config.read_text().replace('urls = ["', 'urls = ["nonsense://key", "'))
    command = [sys.executable, "-m", "relay", "serve", "--config", str(relay.config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "apprise does not know what to do with a URL of the kind nonsense://" in done.stderr


def test_a_url_of_alerts_is_a_secret(tmp_path: Path) -> None:
    relay = Waypost(tmp_path, tables='[alerts]\nurls = ["slack://TOPSECRET"]\nevery = "0s"\n')
    relay.config.chmod(0o644)
    faults = relay.cli("check", status=1)
    assert b"[alerts] every: must be" in faults and b"TOPSECRET" not in faults
    relay.config.write_text(relay.config.read_text().replace('"0s"', '"1s"'))
    said = relay.cli("check")
    assert b"holds [alerts] urls" in said and b"TOPSECRET" not in said


def at(seconds: int) -> datetime:
    return datetime(2026, 11, 28, tzinfo=UTC) + timedelta(seconds=seconds)


def test_an_alert_is_sent_when_two_looks_have_found_a_problem_and_again_while_it_lasts() -> None:
    book = AlertBook(timedelta(seconds=100))
    assert book.find_due({"a": PROBLEM}, at(0)) == []
    assert book.find_due({}, at(30)) == []
    assert book.find_due({"a": PROBLEM}, at(60)) == []
    [new] = book.find_due({"a": PROBLEM}, at(90))
    assert new.state == "new"
    [again] = book.find_due({"a": PROBLEM}, at(120))  # nobody took it
    assert again.state == "new"
    book.mark_sent(again, at(120))
    assert book.find_due({"a": PROBLEM}, at(219)) == []
    [lasting] = book.find_due({"a": PROBLEM}, at(220))
    assert lasting.state == "lasts"
    book.mark_sent(lasting, at(220))
    [over] = book.find_due({}, at(230))
    assert (over.key, over.state, over.problem) == ("a", "over", PROBLEM)
    book.mark_sent(over, at(230))
    assert book.find_due({}, at(260)) == []


def test_a_problem_that_was_not_looked_for_is_not_over_and_the_next_sender_knows_of_it() -> None:
    book = AlertBook(timedelta(seconds=100))
    book.mark_sent(Notice("a", "new", PROBLEM), at(0))
    assert book.find_due({}, at(30), lambda key: key != "a") == []
    [over] = AlertBook(timedelta(seconds=100), book.sent).find_due({}, at(60))
    assert (over.key, over.state) == ("a", "over")


@pytest.mark.parametrize(
    ("view", "keys"),
    [
        (QUIET, []),
        (QUIET._replace(upstreams_down=["a", "b"]), ["upstream a", "upstream b"]),
        (QUIET._replace(untried_for=timedelta(minutes=59)), []),
        (QUIET._replace(untried_for=timedelta(hours=1)), ["queue age"]),
        (QUIET._replace(webhooks_disabled=["w"]), ["webhook w"]),
    ],
)
def test_what_counts_as_a_problem(view: SharedView, keys: list[str]) -> None:
    assert list(find_shared_problems(view, timedelta(hours=1))) == keys


def test_what_counts_as_a_problem_of_one_node() -> None:
    assert list(find_node_problems(NodeView(False, 1 << 30), 1 << 30)) == []
    assert list(find_node_problems(NodeView(True, (1 << 30) - 1), 1 << 30)) == ["database", "disk"]
