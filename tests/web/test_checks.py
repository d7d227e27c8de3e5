"""The checks of the command line, run from the console of a real server.

Always: an admin alone runs them, one run at a time, and each run is in the audit log.
"""

import html
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fork_server import IMPORT_PATH
from tests.upstream import ScriptedUpstream
from tests.waiting import until
from tests.waypost_server import Waypost
from tests.web.scene import csrf

PASSWORD = b"correct horse\n"


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def relay(server: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waypost]:
    with Waypost(tmp_path_factory.mktemp("checks"), server.port) as running:
        running.cli("user", "add", "ann", stdin=PASSWORD)
        running.cli("user", "add", "oscar", "--role", "operator", stdin=PASSWORD)
        yield running


def sign_in(relay: Waypost, name: str) -> httpx.Client:
    form = {"name": name, "password": PASSWORD.decode().strip()}
    return httpx.Client(base_url=relay.console, cookies=httpx.post(f"{relay.console}/login", data=form).cookies)


def run_checks(browser: httpx.Client) -> str:
    """The text of the page when they have ended."""
    answer = browser.post("/settings/checks", data={"csrf": csrf(browser.get("/settings/checks"))})
    assert (answer.status_code, answer.headers["location"]) == (303, "/settings/checks")
    page = until(lambda: browser.get("/settings/checks").text, fits=lambda text: "data-progress" not in text)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_an_admin_runs_the_checks_and_reads_what_to_do(relay: Waypost, server: ScriptedUpstream) -> None:
    with sign_in(relay, "ann") as browser:
        assert "Not run yet" in browser.get("/settings/checks").text
        page = run_checks(browser)
        assert ", by ann, in" in page and "Ended early" not in page
        assert f"fine upstream scripted at 127.0.0.1:{server.port}" in page
        assert "disk of" in page and "note [tracking] public_url is not https" in page
        server.stop()
        try:
            page = run_checks(browser)
        finally:
            server.start()
        assert re.search(r"\d things? do(es)? not work", page)
        assert f"fails upstream scripted at 127.0.0.1:{server.port}" in page
        assert "connection refused" in page and "look at address and port, and whether the server runs" in page
        entries = [row for row in relay.rows("audit", "--json") if row["action"] == "check.run"]
        assert [(row["by"], row["door"], row["count"]) for row in entries] == [("ann", "console", 1)] * 2


def test_one_run_at_a_time_and_none_without_the_form_token(relay: Waypost, server: ScriptedUpstream) -> None:
    with sign_in(relay, "ann") as browser:
        assert browser.post("/settings/checks").status_code == 403
        before = server.connections
        server.greeting_after_s = 2
        try:
            token = csrf(browser.get("/settings/checks"))
            for _ in range(3):
                assert browser.post("/settings/checks", data={"csrf": token}).status_code == 303
            page = browser.get("/settings/checks").text
            assert "are running already" in page and "data-progress" in page and "so far" in page
            until(lambda: browser.get("/settings/checks").text, fits=lambda text: "data-progress" not in text)
        finally:
            server.greeting_after_s = 0
        assert server.connections - before <= 2  # the check of an upstream connects twice at most


def test_an_operator_neither_sees_nor_runs_them(relay: Waypost) -> None:
    with sign_in(relay, "oscar") as browser:
        token = csrf(browser.get("/messages"))
        assert browser.get("/settings/checks").status_code == 403
        assert browser.post("/settings/checks", data={"csrf": token}).status_code == 403


def test_a_configuration_that_is_broken_by_now_is_said(relay: Waypost) -> None:
    text = relay.config.read_text()
    relay.config.write_text(text + "\n[delivry]\nmode = 'queued'\n")
    try:
        with sign_in(relay, "ann") as browser:
            page = run_checks(browser)
        assert "Ended early" in page and "delivry" in page
    finally:
        relay.config.write_text(text)


def test_they_load_nothing_from_the_folder_where_the_server_was_started(
    server: ScriptedUpstream, tmp_path: Path
) -> None:
    (tmp_path / "dataclasses.py").write_text("raise SystemExit('of another program')\n")
    other = Waypost(tmp_path / "other", server.port)
    command = [sys.executable, "-P", "-m", "relay", "serve", "--config", str(other.config)]
    environment = {**os.environ, "PYTHONPATH": IMPORT_PATH}
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as running:
        try:
            assert running.stdout is not None and running.stdout.readline().startswith(b"ready ")
            other.cli("user", "add", "ann", stdin=PASSWORD)
            with sign_in(other, "ann") as browser:
                page = run_checks(browser)
        finally:
            running.terminate()
    assert "of another program" not in page and f"fine upstream scripted at 127.0.0.1:{server.port}" in page


def test_an_upstream_is_not_tried_until_a_mail_process_has_connected_to_it(
    relay: Waypost, server: ScriptedUpstream
) -> None:
    key = relay.cli("api-key", "create", "health").decode().split()[-1]
    headers = {"authorization": f"Bearer {key}"}

    def look() -> dict[str, object]:
        [one] = httpx.get(f"{relay.console}/api/v1/health", headers=headers).json()["upstreams"]
        return dict(one)

    one = until(look, fits=lambda found: found["state"] != "unknown")
    assert (one["state"], one["tried"], one["connected_at"]) == ("up", False, None)
    with sign_in(relay, "oscar") as browser:
        page = browser.get("/upstreams").text
        assert ">not tried yet<" in page and ">up<" not in page and "No mail process has connected" in page
        relay.send(b"Subject: x\r\n\r\nx\r\n", "ann@example.com")
        one = until(look, fits=lambda found: found["tried"])
        assert one["state"] == "up" and one["connected_at"]
        page = browser.get("/upstreams").text
        assert ">up<" in page and "not tried" not in page
