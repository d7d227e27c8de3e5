"""Bodies that are too large: 413 at every route that takes one, and no fault in the log."""

import re
import socket
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from urllib.parse import urlsplit

from starlette.routing import BaseRoute, Mount, Route

from relay.edits import Kind
from relay.store.console import api_keys
from tests.web.scene import Scene, no_fault_logged
from web import api_paths, app
from web.api import core

TOO_LARGE = b"x" * (65 << 10)


def paths(routes: Iterable[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every method and path that takes a body."""
    for route in routes:
        if isinstance(route, Mount):
            yield from paths(route.routes, prefix + route.path)
        elif isinstance(route, Route):
            for method in (route.methods or set()) - {"GET", "HEAD"}:
                yield method, prefix + re.sub(r"\{\w+(:path)?\}", "x@example.com", route.path)


def test_every_route_of_the_console_and_the_api_has_a_largest_body(scene: Scene) -> None:
    key = scene.write(lambda connection: api_keys.create_key(connection, "tests", datetime.now(UTC)))
    asked = list(paths(app.make_console_app(scene.config, scene.store, scene.ring).routes))
    assert ("POST", "/login") in asked and ("POST", "/api/v1/webhooks/x@example.com/replay") in asked
    headers = {"authorization": f"Bearer {key}", "content-type": "application/x-www-form-urlencoded"}
    with scene.sign_in() as console, no_fault_logged():
        for method, path in asked:
            if path.startswith(api_paths.PATH + core.BULK_PATH):
                answer = console.request(method, path, content=TOO_LARGE * 64, headers=headers)
                assert answer.status_code == 413, (method, path)
                continue
            answer = console.request(method, path, content=TOO_LARGE, headers=headers)
            assert answer.status_code == 413, (method, path)
            if api_paths.is_api_path(path):
                assert answer.json()["error"]["code"] == "too_large"
            if method == "DELETE":
                continue  # which reads none
            answer = console.request(method, path, content=iter([TOO_LARGE[:5000]] * 14), headers=headers)
            assert answer.status_code in (413, 404), (method, path)  # or it is not read at all


def test_every_route_of_the_tracking_site_has_a_largest_body(scene: Scene) -> None:
    asked = list(paths(app.make_tracking_app(scene.config, scene.store, scene.ring).routes))
    assert sorted(asked) == [("POST", "/in/x@example.com"), ("POST", "/u/x@example.com")]
    with no_fault_logged():
        assert scene.http.post("/u/x", content=TOO_LARGE).status_code == 413
        assert scene.http.post("/in/x", content=TOO_LARGE * 160).status_code == 413  # 10 MB, for those that batch


def test_many_bodies_that_are_too_large_cost_no_line_of_log(scene: Scene) -> None:
    there = urlsplit(scene.tracking)
    with no_fault_logged():
        for _ in range(50):
            with socket.create_connection((there.hostname or "", there.port or 0), 60) as client:
                client.sendall(f"POST /u/x HTTP/1.1\r\nHost: {there.netloc}\r\nContent-Length: 99999\r\n\r\n".encode())
                assert client.recv(100).startswith(b"HTTP/1.1 413 ")


def test_the_refusal_carries_the_headers_of_every_answer(scene: Scene) -> None:
    answer = scene.http.post(scene.path(Kind.UNSUBSCRIBE, scene.file()), content=TOO_LARGE)
    assert answer.status_code == 413
    assert answer.headers["x-content-type-options"] == "nosniff"
