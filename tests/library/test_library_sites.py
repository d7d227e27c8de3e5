"""The program's own site: pixels and links under ASGI, WSGI and Django, and what its hooks and webhooks get.

Always: the three adapters answer alike, and no hook stands between a recipient and the answer.
"""

import asyncio
import base64
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple
from datetime import UTC, datetime
from hashlib import sha256
from hmac import digest
from http.client import HTTPConnection
from pathlib import Path
from types import ModuleType
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.validate import validator

import django
import httpx
import pytest
from django.conf import settings
from django.test import Client, override_settings
from django.urls import include, path
from starlette.applications import Starlette
from starlette.routing import Mount

from relay import tracking, webhook_signatures
from relay.tracking import BadLink, Event, Tracker, Webhook, WebhookError
from tests.receiver import receiving
from tests.user_agents import PHONE
from tests.waiting import until
from tests.waypost_server import ROOT
from web.library import asgi, wsgi
from web.library import django as urls
from web.library.endpoints import LibraryEndpoints

SECRET = "a secret of thirty-two characters"
BASE = "https://app.example/t"
EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs/library.md").read_text("utf-8"), re.DOTALL)
TRACKER = Tracker(BASE, SECRET)
CLICK, PIXEL = TRACKER.click_url("https://shop.example/ü?a=b", {"n": 1}), TRACKER.open_url()
Answer = tuple[int, dict[str, str], bytes]
Ask = Callable[..., Answer]


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(application: Any) -> Iterator[int]:  # Any: as PEP 3333 has it
    """That application behind wsgiref's server."""
    server = make_server("127.0.0.1", 0, application, handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def over_http(port: int, method: str, url: str, headers: dict[str, str]) -> Answer:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, url.removeprefix("https://app.example"), headers=headers)
    response = connection.getresponse()
    answer = response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    connection.close()
    return answer


def configure_django() -> None:
    if not settings.configured:
        settings.configure(SECRET_KEY="x", ALLOWED_HOSTS=["*"], INSTALLED_APPS=["anymail"], USE_TZ=True)
    django.setup()


def ask_django(urlconf: Any, method: str, url: str, headers: dict[str, str]) -> Answer:  # Any: a module with patterns
    configure_django()
    everything = ["django.middleware.common.CommonMiddleware", "django.middleware.http.ConditionalGetMiddleware"]
    everything += ["django.middleware.csrf.CsrfViewMiddleware", "django.middleware.gzip.GZipMiddleware"]
    with override_settings(ROOT_URLCONF=urlconf, ALLOWED_HOSTS=["*"], MIDDLEWARE=everything):
        answer = Client().generic(method, url.removeprefix("https://app.example"), headers=headers)
    return answer.status_code, {name.lower(): value for name, value in answer.items()}, answer.content


@pytest.fixture(params=["asgi", "wsgi", "django"])
def adapter(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """A site of that kind, mounted at /t, for those hooks and options: what asks it, as a context."""

    @contextmanager
    def site(*args: Any, **options: Any) -> Iterator[Ask]:  # Any: what the adapters take
        if request.param == "asgi":
            app = Starlette(routes=[Mount("/t", routes=asgi.routes(*args, **options))])

            def ask(method: str, url: str, **headers: str) -> Answer:
                async def once() -> Answer:
                    transport = httpx.ASGITransport(app, client=("127.0.0.1", 5000))
                    async with httpx.AsyncClient(transport=transport, headers=_headers(headers)) as client:
                        got = await client.request(method, url)
                        return got.status_code, dict(got.headers), got.content

                return asyncio.run(once())

            yield ask
        elif request.param == "wsgi":
            with serving(validator(wsgi.application(*args, **options))) as port:
                yield lambda method, url, **headers: over_http(port, method, url, _headers(headers))
        else:
            conf = ModuleType("urls")
            conf.__dict__["urlpatterns"] = [path("t/", include(urls.urlpatterns(*args, **options)))]
            yield lambda method, url, **headers: ask_django(conf, method, url, _headers(headers))

    return site


def _headers(headers: dict[str, str]) -> dict[str, str]:
    return {"user-agent": PHONE} | {name.replace("_", "-"): value for name, value in headers.items()}


class Recorder(list[Any]):  # Any: events and bad links
    """What hooks were told, in whatever thread."""

    def wait(self, count: int) -> list[Any]:
        until(lambda: len(self) >= count, lambda: self)
        assert len(self) == count, self
        return self


def test_each_adapter_answers_links_and_pixels_alike(adapter: Callable[..., Any]) -> None:
    heard = Recorder()
    with adapter(TRACKER, heard.append, on_bad_link=heard.append) as ask:
        for url in (CLICK, PIXEL):
            assert ask("HEAD", url)[::2] == (302 if url == CLICK else 200, b"")
        status, headers, body = ask("GET", CLICK)
        assert (status, headers["location"], body) == (302, "https://shop.example/%C3%BC?a=b", b"")
        assert (headers["cache-control"], headers["referrer-policy"]) == ("no-store", "no-referrer")
        status, headers, body = ask("GET", PIXEL)
        assert (status, headers["content-type"], body) == (200, "image/png", tracking.PIXEL_PNG)
        assert headers["content-length"] == str(len(body)) and "no-store" in headers["cache-control"]
        assert headers["x-content-type-options"] == "nosniff" and "etag" not in headers
        assert ask("GET", PIXEL.replace(".png", ".gif"))[2] == tracking.PIXEL_GIF
        assert ask("GET", CLICK + "%E2%80%9D")[0] == 302  # what stands behind a link
        told = [(event.kind, event.url, event.verdict, event.metadata) for event in heard.wait(4)]
        click = ("click", "https://shop.example/ü?a=b", "human", {"n": 1})
        assert told == [click, ("open", "", "human", {}), ("open", "", "human", {}), click]
        assert len({event.id for event in heard}) == 4
        for url, expected in ((f"{BASE}/c/xyz", 404), (f"{BASE}/o/xyz.png", 200)):
            status, headers, _ = ask("GET", url)
            assert status == expected and "location" not in headers
        bad = [one for one in heard.wait(6) if isinstance(one, BadLink)]
        assert [astuple(one)[:2] for one in bad] == [("click", "xyz"), ("open", "xyz")]
        assert {one.user_agent for one in bad} == {PHONE}
        assert ask("GET", f"{BASE}/x/{CLICK}")[0] == ask("GET", f"{BASE}/")[0] == 404
        assert ask("POST", CLICK)[0] in (405, 403)  # Django's own check comes first
        heard.wait(6)


@pytest.mark.parametrize("is_coroutine", [False, True])
def test_a_hook_that_fails_costs_nobody_the_answer(adapter: Callable[..., Any], is_coroutine: bool) -> None:
    reached = Recorder()

    def fails(fact: Event | BadLink) -> None:
        reached.append(fact)
        raise RuntimeError("my database is away")

    async def fails_later(fact: Event | BadLink) -> None:
        fails(fact)

    hook = fails_later if is_coroutine else fails
    with adapter(TRACKER, hook, on_bad_link=hook) as ask:
        assert [ask("GET", url)[0] for url in (CLICK, PIXEL, f"{BASE}/c/xyz")] == [302, 200, 404]
        reached.wait(3)


@pytest.mark.parametrize(
    ("trusted", "headers", "expected"),
    [
        ([], {"x_forwarded_for": "192.0.2.7", "x_real_ip": "192.0.2.8"}, "127.0.0.1"),
        (["10.0.0.0/8"], {"x_real_ip": "192.0.2.8"}, "127.0.0.1"),
        (["127.0.0.0/8"], {"x_real_ip": "192.0.2.8"}, "192.0.2.8"),
        (["127.0.0.0/8"], {"x_real_ip": "nonsense"}, "127.0.0.1"),
        (["127.0.0.0/8"], {"x_forwarded_for": "192.0.2.7", "x_real_ip": "192.0.2.8"}, "192.0.2.7"),
        (["127.0.0.0/8"], {"x_forwarded_for": "6.6.6.6, 192.0.2.7, 127.0.0.9"}, "192.0.2.7"),
    ],
)
def test_only_trusted_proxies_say_whose_request_it_is(
    adapter: Callable[..., Any], trusted: list[str], headers: dict[str, str], expected: str
) -> None:
    heard = Recorder()
    with adapter(TRACKER, heard.append, ip="full", trusted_proxies=trusted) as ask:
        ask("GET", CLICK, **headers)
        assert [event.ip for event in heard.wait(1)] == [expected]


def test_a_socket_file_is_this_machine() -> None:
    for trusted, expected in (([], "127.0.0.1"), (["127.0.0.0/8"], "192.0.2.8")):
        endpoints = LibraryEndpoints(TRACKER, ip="full", trusted_proxies=trusted)
        made = endpoints.answer("GET", CLICK.removeprefix(BASE), {"X-Real-IP": "192.0.2.8"}, "")
        assert isinstance(made.fact, Event) and made.fact.ip == expected


def test_the_examples_of_the_documentation_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WAYPOST_TRACKING_URL", BASE)
    monkeypatch.setenv("WAYPOST_TRACKING_SECRET", SECRET.replace(" ", "-"))
    click = tracking.tracker_from_environment().click_url("https://shop.example/1047", {"order": 1047})
    sent: list[Any] = []  # Any: an answer's three
    conf = ModuleType("urls")
    space: dict[str, Any] = {"your_app": lambda *_: [b"yours"], "send": lambda *made: sent.append(made)}
    for example in EXAMPLES:
        exec(compile(example, "docs/library.md", "exec"), conf.__dict__ if "django" in example else space)
        if "on_event=print" in example and "application" in example:
            with serving(space["application"]) as port:
                assert over_http(port, "GET", click, {})[0] == 302
    assert ask_django(conf, "GET", click, _headers({}))[0] == 302
    space["answer"]("GET", click.removeprefix("https://app.example"), {"User-Agent": PHONE}, "192.0.2.1")
    assert sent[0][0] == 302 and dict(sent[0][1])["location"] == "https://shop.example/1047"
    assert space["app"]({"PATH_INFO": "/"}, None) == [b"yours"]
    assert len(EXAMPLES) == 6 and space["webhook"].url == "https://app.example/hooks/mail"
    told = capsys.readouterr().out.splitlines()
    assert "click human https://shop.example/1047 {'order': 1047}" in told and len(told) == 3


def test_an_event_is_sent_to_a_url_signed_and_whole() -> None:
    secret = webhook_signatures.new_secret()
    with receiving() as receiver:
        with pytest.raises(ValueError):
            Webhook(receiver.url + "/ok", "")
        secrets: list[str | bytes | list[str | bytes]] = [secret, secret.encode(), [secret, b"\xff another"], b"plain"]
        for given in secrets:
            hook = Webhook(receiver.url + "/ok", given)
            with serving(wsgi.application(TRACKER, hook.send)) as port:
                over_http(port, "GET", CLICK, {"user-agent": PHONE})
        arrived = receiver.wait("/ok", 4)
    told = arrived[0].json
    assert {name: told[name] for name in ("kind", "url", "metadata", "verdict", "reasons", "ip", "user_agent")} == {
        "kind": "click", "url": "https://shop.example/ü?a=b", "metadata": {"n": 1}, "verdict": "human", "reasons": [],
        "ip": "127.0.0.0", "user_agent": PHONE,
    }  # fmt: skip
    assert datetime.fromisoformat(told["at"]).tzinfo is not None and told["at"].endswith("Z")
    for request, keys in zip(arrived, (1, 1, 2, 1), strict=True):
        assert request.headers["webhook-id"] == request.json["id"]
        signed = f"{request.json['id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
        key = b"plain" if request is arrived[3] else base64.b64decode(secret.removeprefix("whsec_"))
        signature = base64.b64encode(digest(key, signed, sha256)).decode()
        assert request.headers["webhook-signature"].split()[0] == f"v1,{signature}"
        assert len(request.headers["webhook-signature"].split()) == keys


def test_what_a_url_does_not_take_is_an_error_and_shows_no_password() -> None:
    event = Event("open", "", {}, "human", (), "", PHONE, datetime(2026, 11, 26, 8, tzinfo=UTC))
    assert json.loads(event.to_json())["at"] == "2026-11-26T08:00:00Z"
    with receiving() as receiver:
        Webhook(receiver.url + "/ok").send(event)
        assert "webhook-signature" not in receiver.wait("/ok")[0].headers
        with_password = receiver.url.replace("http://", "http://user:topsecret@")
        receiver.headers["location"] = receiver.url + "/elsewhere"
        for answer in ("/e500", "/e302", "/e404"):
            with pytest.raises(WebhookError, match=answer[2:]) as caught:
                Webhook(with_password + answer).send(event)
            assert "topsecret" not in str(caught.value)
        receiver.headers.clear()
        with pytest.raises(WebhookError, match="Timeout"):
            Webhook(receiver.url + "/hang", timeout_s=0.1).send(event)
        receiver.released.set()
        assert not receiver.at("/elsewhere")
    with pytest.raises(WebhookError, match=r"127\.0\.0\.1"):
        Webhook(receiver.url + "/ok").send(event)  # nobody is there any more
    for wrong in ("ftp://app.example/", "https://", "app.example"):
        with pytest.raises(ValueError):
            Webhook(wrong)


def test_a_secret_may_be_text_or_octets() -> None:
    octets = Path(__file__).read_bytes()[:32]
    assert Tracker(BASE, SECRET.encode()).read(CLICK) == TRACKER.read(CLICK)
    assert Tracker(BASE, [octets, SECRET.encode()]).read(CLICK).metadata == {"n": 1}
    assert Tracker(BASE, octets).read(Tracker(BASE, octets.decode()).open_url()).kind == "open"
    for wrong in (b"short", octets[:31], [], [octets, b""]):
        with pytest.raises(ValueError):
            Tracker(BASE, wrong)


def test_a_link_without_a_scheme_has_that_of_the_site() -> None:
    for base, scheme in ((BASE, "https"), ("http://127.0.0.1:8000/t", "http")):
        tracker = Tracker(base, SECRET)
        assert tracker.read(tracker.click_url("//shop.example/a?b")).url == f"{scheme}://shop.example/a?b"
        html = (
            '<body><a href="//shop.example/a?b=1&amp;c=2">one</a> <a href=" //shop.example/x ">two</a>'
            '<a href="//partner.example/">three</a><a href="/a">four</a><a href="//">five</a>'
            '<a href="//shop.example">shop.example</a><a href="https://shop.example/">six</a>'
            f'<a href="{base.partition(":")[2]}/own">seven</a></body>'
        )
        made = tracker.instrument_html(html, exclude=["partner.example"], opens=False)
        found = re.findall(re.escape(base) + r"/c/[\w-]+", made)
        assert [tracker.read(url).url for url in found] == [
            f"{scheme}://shop.example/a?b=1&c=2", f"{scheme}://shop.example/x", "https://shop.example/",
        ]  # fmt: skip
    with pytest.raises(ValueError):
        TRACKER.click_url("///shop.example")
