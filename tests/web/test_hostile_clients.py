"""Clients that are slow, mute, too many or say too much: each has its bound, and the others have their answer."""

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from relay.clients import Limit
from relay.edits import Kind
from tests.web.scene import Scene, no_fault_logged
from web.server.request_limits import RequestLimits

QUICK = RequestLimits(first_s=0.3, idle_s=0.3, head_s=0.3, body_s=0.5, surplus_s=0.3, answer_s=0.5, close_s=0.3)
FAR = "127.9.9.9"  # of another network than 127.0.0.1, and of this machine all the same


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A web side that has little patience."""
    tables = {"inbound": {"postmark": "secret"}}
    with Scene(tmp_path_factory.mktemp("quick"), tables, limits=QUICK) as running:
        yield running


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A web side that has few places, and as much time as in service. One address may have 2 of 16."""
    tables = {"tracking": {"trusted_proxies": ["127.1.0.0/16"]}}
    with Scene(tmp_path_factory.mktemp("patient"), tables, max_open=16, is_public=bool) as running:
        yield running


def connect(site: str, address: str = "127.0.0.1") -> socket.socket:
    there = urlsplit(site)
    return socket.create_connection((there.hostname or "", there.port or 0), 10, source_address=(address, 0))


def read_all(client: socket.socket) -> bytes:
    """What the server says until it closes the connection."""
    said = bytearray()
    with contextlib.suppress(ConnectionError):
        while octets := client.recv(65536):
            said += octets
    return bytes(said)


def read_ok(client: socket.socket, count: int = 1) -> None:
    """Takes that many answers of /healthz."""
    said = b""
    while said.count(b"\r\n\r\nok\n") < count:
        octets = client.recv(65536)
        assert octets, said
        said += octets


def request(scene: Scene, path: str = "/healthz", method: str = "GET", *fields: str) -> bytes:
    lines = (f"{method} {path} HTTP/1.1", f"Host: {urlsplit(scene.tracking).netloc}", *fields)
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


# --- time


def test_who_says_nothing_is_hung_up_on(quick: Scene) -> None:
    for site in (quick.tracking, quick.console):
        with connect(site) as client:
            assert read_all(client) == b""


def test_a_head_has_its_time_however_it_trickles(quick: Scene) -> None:
    with connect(quick.tracking) as client, contextlib.suppress(ConnectionError):
        client.settimeout(0.02)
        began = time.monotonic()
        for octet in request(quick, "/healthz", "GET", "X: " + "x" * 1000):
            client.sendall(bytes([octet]))
            with contextlib.suppress(TimeoutError):
                assert client.recv(100).startswith(b"HTTP/1.1 408 ")
                break
        assert time.monotonic() - began < 10


def test_a_body_has_its_time(quick: Scene) -> None:
    for path in ("/in/postmark", quick.path(Kind.UNSUBSCRIBE, quick.file())):
        with connect(quick.tracking) as client, no_fault_logged():
            client.sendall(request(quick, path, "POST", "Authorization: Bearer secret", "Content-Length: 9") + b"{")
            assert read_all(client).startswith(b"HTTP/1.1 408 "), path


def test_the_rest_of_a_body_that_is_refused_has_little_time(quick: Scene) -> None:
    with connect(quick.tracking) as client:
        client.sendall(request(quick, "/in/postmark", "POST", "Content-Length: 900000"))
        said = read_all(client)
        assert said.startswith(b"HTTP/1.1 401 ") and said.count(b"HTTP/1.1") == 1


def test_a_connection_that_is_kept_alive_serves_again_and_is_closed_when_it_idles(quick: Scene) -> None:
    with connect(quick.tracking) as client:
        for _ in range(5):
            client.sendall(request(quick))
            read_ok(client)
        assert read_all(client) == b""


def test_an_answer_that_nobody_takes_is_given_up(quick: Scene) -> None:
    with quick.sign_in() as console:
        cookie = "; ".join(f"{name}={value}" for name, value in console.cookies.items())
    ask = request(quick, "/static/console.css", "GET", f"Cookie: {cookie}")
    with connect(quick.console) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        with contextlib.suppress(ConnectionError):
            while True:  # until the server has given up
                client.sendall(ask)


# --- size


@pytest.mark.parametrize(
    "head",
    [
        "GET /" + "x" * 17_000 + " HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nX: " + "x" * 17_000,
        "GET / HTTP/1.1\r\n" + "x" * 17_000,
        "GET / HTTP/1.1\r\n" + "a:b\r\n" * 101 + "\r\n",
        "GET / HTTP/1.1\r\n" + "X: " + "x" * 17_000 + "\r\n\r\n",
    ],
    ids=["url", "field", "name", "fields", "whole"],
)
def test_a_head_that_is_too_large_is_refused(patient: Scene, head: str) -> None:
    for site in (patient.tracking, patient.console):
        with connect(site) as client:
            client.sendall(head.encode())
            assert read_all(client).startswith(b"HTTP/1.1 431 ")


def test_a_large_head_is_answered(patient: Scene) -> None:
    fields = {f"x-{number}": "x" * 150 for number in range(90)}
    assert patient.http.get("/healthz", headers=fields).text == "ok\n"


def test_a_large_report_comes_through(tmp_path: Path) -> None:
    with Scene(tmp_path, {"inbound": {"sparkpost": "secret"}}) as scene:
        body = b"[" + b" " * (9 << 20) + b"]"
        answer = scene.http.post("/in/sparkpost", content=body, headers={"authorization": "Bearer secret"})
        assert answer.json() == {"taken": 0, "known": 0, "unknown": 0}


def test_requests_behind_others_are_few(patient: Scene) -> None:
    with connect(patient.tracking) as client:
        client.sendall(request(patient) * 5)
        read_ok(client, 5)
        client.sendall(request(patient) * 5000)
        assert read_all(client).count(b"ok\n") < 5000


# --- number


def test_a_client_s_idle_connections_make_room_for_its_own(patient: Scene) -> None:
    with contextlib.ExitStack() as open_:
        clients = [open_.enter_context(connect(patient.tracking, FAR)) for _ in range(10)]
        for client in clients[:-2]:
            assert read_all(client) == b""
        for client in clients[-2:]:
            client.sendall(request(patient))
            read_ok(client)


def slow_body(scene: Scene, address: str) -> socket.socket:
    """A client whose request is at work, and stays so."""
    client = connect(scene.tracking, address)
    path = scene.path(Kind.UNSUBSCRIBE, "0" * 20)
    client.sendall(request(scene, path, "POST", "Content-Length: 9", "Expect: 100-continue"))
    assert client.recv(100).startswith(b"HTTP/1.1 100 ")
    return client


def test_a_client_at_work_is_let_be_and_its_further_connections_are_refused(patient: Scene) -> None:
    with contextlib.ExitStack() as open_:
        at_work = [open_.enter_context(slow_body(patient, FAR)) for _ in range(2)]
        with connect(patient.tracking, FAR) as client:
            assert read_all(client).startswith(b"HTTP/1.1 503 ")
        assert patient.http.get("/healthz").text == "ok\n"
        for client in at_work:
            client.sendall(b"x" * 9)
            assert client.recv(100).startswith(b"HTTP/1.1 ")


def test_many_addresses_of_a_network_and_many_networks_leave_room_for_a_proxy(patient: Scene) -> None:
    def refused(address: str) -> bool:
        with connect(patient.tracking, address) as client:
            client.sendall(request(patient))
            return client.recv(100).startswith(b"HTTP/1.1 503 ")

    with contextlib.ExitStack() as open_:
        for host in range(6):  # three times what an address may have
            open_.enter_context(slow_body(patient, f"127.9.9.{host}"))
        assert refused("127.9.9.100")
        assert not refused("127.8.8.8")
        for host in range(6):
            open_.enter_context(slow_body(patient, f"127.8.8.{host}"))
        assert refused("127.7.7.7")  # three quarters of all
        for _ in range(4):
            open_.enter_context(slow_body(patient, "127.1.0.1"))
        assert refused("127.1.0.1")


def test_the_console_has_places_of_its_own(patient: Scene) -> None:
    with contextlib.ExitStack() as open_:
        for network in range(20, 32):
            open_.enter_context(slow_body(patient, f"127.{network}.8.8"))
        assert patient.http.get("/healthz").status_code == 503
        assert httpx.get(f"{patient.console}/healthz").text == "ok\n"


def test_an_address_that_many_share_has_no_limit_of_its_own(tmp_path: Path) -> None:
    with Scene(tmp_path, max_open=16) as scene, contextlib.ExitStack() as open_:
        for _ in range(12):
            open_.enter_context(slow_body(scene, "127.0.0.1"))
        assert scene.http.get("/healthz").status_code == 503


def test_who_connects_too_often_is_closed_and_others_are_served(tmp_path: Path) -> None:
    with Scene(tmp_path, is_public=bool, rate=Limit(3, 1e6)) as scene:
        for _ in range(3):
            with connect(scene.tracking, FAR) as client:
                client.sendall(request(scene))
                read_ok(client)
        for _ in range(200):
            with connect(scene.tracking, FAR) as client:
                with contextlib.suppress(ConnectionError):
                    client.sendall(request(scene))
                assert read_all(client) == b""
        assert scene.http.get("/healthz").text == "ok\n"
