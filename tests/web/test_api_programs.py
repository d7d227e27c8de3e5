"""Programs that use the API of a real server: a test suite that reads mail, and an operator who holds it."""

import time
from pathlib import Path

import httpx

from tests.upstream import ScriptedUpstream
from tests.waiting import until
from tests.waypost_server import Waypost, html_mail, tracking_urls

HELD = "e451-4.7.1-n1@example.com"  # greylisted once


HTML_MAIL = html_mail(subject="Seen by a test suite")


class Program:
    """A program that uses a server's API."""

    def __init__(self, relay: Waypost, name: str) -> None:
        self._relay, self._name = relay, name
        key = relay.cli("api-key", "create", name).decode().strip()
        headers = {"authorization": f"Bearer {key}"}
        self.http = httpx.Client(base_url=f"{relay.console}/api/v1", headers=headers)

    def __enter__(self) -> httpx.Client:
        return self.http

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self._relay.cli("api-key", "revoke", self._name)


def test_a_test_suite_reads_the_mail_that_its_app_sent(sandbox: Waypost) -> None:
    with Program(sandbox, "suite") as program:
        sandbox.send(HTML_MAIL, "suite@example.com")
        asked = {"recipient": "suite@example.com", "wait": "10s"}
        [message] = program.get("/messages", params=asked).json()["items"]
        one = f"/messages/{message['id']}"
        source = program.get(f"{one}/source")
        assert source.headers["content-type"] == "message/rfc822" and b"List-Unsubscribe" in source.content
        urls = tracking_urls(source.content)
        assert len(urls["o"]) == len(urls["c"]) == 1
        received = program.get(f"{one}/source", params={"as": "received"}).content
        assert received.endswith(HTML_MAIL) and not tracking_urls(received)["c"]
        html = program.get(f"{one}/html")
        assert html.headers["content-type"].startswith("text/html") and urls["c"][0] in html.text
        assert "sandbox" in html.headers["content-security-policy"]
        assert program.get(f"{one}/text").status_code == 404
        assert program.get(f"{one}/source", params={"number": 1}).status_code == 404
        again = program.post(f"{one}/resend").json()["message"]
        until(lambda: program.get(f"/messages/{again}").json()["deliveries"][0]["status"] == "delivered")
        copy = program.get(f"/messages/{again}/source").content
        assert b"Seen by a test suite" in copy and tracking_urls(copy)["c"] != urls["c"]
        assert sandbox.get(tracking_urls(copy)["c"][0]).status_code == 302
        until(lambda: sum(program.get(f"/messages/{again}").json()["clicks"].values()) == 1)
        assert program.delete("/messages", params={"recipient": "suite@example.com"}).json() == {"deleted": 2}


def test_held_mail_stays_until_it_is_released_and_health_says_what_waits(tmp_path: Path) -> None:
    upstream = ScriptedUpstream()
    try:
        with (
            Waypost(tmp_path, upstream.port, '[delivery]\nretry = ["1s"]\n') as relay,
            Program(relay, "ops") as program,
        ):
            relay.send(html_mail(), HELD)
            [waiting] = program.get("/queue").json()["items"]
            assert program.post(f"/queue/{waiting['id']}/hold").status_code == 200
            until(lambda: program.get("/health").json()["upstreams"][0]["state"] == "up")
            health = program.get("/health").json()
            assert (health["status"], health["queue"]["waiting"], health["queue"]["held"]) == ("ok", 1, 1)
            time.sleep(1.5)  # in which it would have been tried again
            assert len(program.get("/queue", params={"held": "true"}).json()["items"]) == 1
            assert program.post(f"/queue/{waiting['id']}/release").status_code == 202
            until(lambda: not program.get("/queue").json()["items"])
            assert relay.events("delivered", HELD)
            upstream.stop()
            relay.send(html_mail(), "down@example.com")
            until(lambda: program.get("/health").json()["status"] == "degraded")
            [down] = program.get("/health").json()["upstreams"]
            assert down["state"] == "down" and down["down_since"] and "onnect" in down["fault"]
    finally:
        upstream.close()
