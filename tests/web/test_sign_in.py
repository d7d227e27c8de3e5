"""Who gets into the console: guesses, sessions, cookies, and the names that it answers under."""

import base64
import json
import re
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from argon2 import PasswordHasher

from relay.store.console import accounts, console_sessions
from relay.store.database import console_tables, engine
from tests.waypost_server import Waypost
from tests.web.scene import NAME, PASSWORD, Scene, csrf
from web.api import authorization
from web.console import cookies, sign_in_limits

WRONG = "<script>wrong"


@pytest.fixture(scope="module", autouse=True)
def in_one_minute() -> Iterator[None]:
    """However slow the machine is, all guesses of a test are made within a minute; and each costs little."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (sign_in_limits, authorization):
            patch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 1000.0))
        patch.setattr(accounts, "_HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        accounts._dummy_hash.cache_clear()
        yield
    accounts._dummy_hash.cache_clear()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Scene(tmp_path_factory.mktemp("web")) as running:
        running.write(lambda connection: accounts.set_password(connection, NAME, PASSWORD, datetime.now(UTC)))
        yield running


def try_password(
    scene: Scene, ip: str, password: str, name: str = NAME, jar: httpx.Cookies | None = None
) -> httpx.Response:
    """A sign-in through a proxy on this machine."""
    with httpx.Client(base_url=scene.console, cookies=jar) as client:
        return client.post("/login", data={"name": name, "password": password}, headers={"x-forwarded-for": ip})


def guess_until_stopped(scene: Scene, ip: str, jar: httpx.Cookies | None = None) -> httpx.Response:
    for _ in range(11):
        answer = try_password(scene, ip, WRONG, jar=jar)
        if answer.status_code == 429:
            return answer
        assert answer.status_code == 401
        assert "do not match" in answer.text and WRONG not in answer.text
        assert "set-cookie" not in answer.headers
    raise AssertionError("nobody stops it")


def test_who_guesses_is_stopped_and_a_right_password_from_elsewhere_gets_in(scene: Scene) -> None:
    stopped = guess_until_stopped(scene, "192.0.2.7")
    assert 1 <= int(stopped.headers["retry-after"]) <= 86_400
    assert "192.0.2.7" in stopped.text and "trusted_proxies" in stopped.text
    assert try_password(scene, "192.0.2.7", PASSWORD).status_code == 429  # before the password is looked at
    assert try_password(scene, "198.51.100.7", PASSWORD).status_code == 303


def test_parallel_guesses_do_not_pass_the_limit(scene: Scene) -> None:
    with ThreadPoolExecutor(30) as crowd:
        codes = list(crowd.map(lambda n: try_password(scene, "192.0.3.9", f"wrong{n}").status_code, range(60)))
    assert (codes.count(401), codes.count(429)) == (10, 50)


def test_a_browser_from_before_gets_in_through_a_network_that_is_stopped_and_may_not_guess_for_ever(
    scene: Scene,
) -> None:
    before = try_password(scene, "192.0.4.5", PASSWORD)
    jar = httpx.Cookies({cookies.BROWSER_COOKIE: before.cookies[cookies.BROWSER_COOKIE]})
    guess_until_stopped(scene, "192.0.4.5")
    assert try_password(scene, "192.0.4.5", PASSWORD).status_code == 429
    assert try_password(scene, "192.0.4.5", PASSWORD, jar=jar).status_code == 303
    assert try_password(scene, "192.0.4.5", PASSWORD, name="other", jar=jar).status_code == 429  # another's browser
    forged = httpx.Cookies({cookies.BROWSER_COOKIE: jar[cookies.BROWSER_COOKIE][:-1] + "x"})
    assert try_password(scene, "192.0.4.5", PASSWORD, jar=forged).status_code == 429
    guess_until_stopped(scene, "203.0.113.1", jar)
    assert try_password(scene, "203.0.113.1", PASSWORD, jar=jar).status_code == 429


def test_right_passwords_are_not_counted(scene: Scene) -> None:
    assert {try_password(scene, "192.0.5.5", PASSWORD).status_code for _ in range(12)} == {303}


def test_an_account_that_many_networks_guess_at_is_closed_to_browsers_that_it_does_not_know() -> None:
    seen = sign_in_limits.SignInLimits()
    for n in range(sign_in_limits.ACCOUNT_LIMIT.max_events):
        assert seen.start_attempt(f"10.{n % 250}.{n // 250 * 8}.1", "ann", "")[0] == 0
    wait_s, _ = seen.start_attempt("192.0.2.1", "ann", "")
    assert 0 < wait_s <= 3600
    assert seen.start_attempt("192.0.2.1", "bob", "")[0] == 0
    assert seen.start_attempt("192.0.2.1", "ann", "known")[0] == 0


def test_one_network_alone_cannot_close_an_account() -> None:
    seen = sign_in_limits.SignInLimits()
    for host in range(2000):
        seen.start_attempt(f"192.0.{host % 8}.{host // 8}", "ann", "")
    assert seen.start_attempt("192.0.0.250", "ann", "")[0] > 0
    assert seen.start_attempt("198.51.100.1", "ann", "")[0] == 0


def test_wrong_passwords_and_wrong_keys_stand_in_the_log_for_fail2ban(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    assert try_password(scene, "192.0.6.6", WRONG).status_code == 401
    headers = {"authorization": "Bearer wp_wrong", "x-forwarded-for": "192.0.6.7"}
    with httpx.Client(base_url=scene.console, headers=headers) as program:
        assert {program.get("/api/v1/pixels").status_code for _ in range(25)} == {401}
    lines = [message for message in caplog.messages if message.startswith("login-failed ")]
    assert lines[0] == "login-failed ip=192.0.6.6 door=console"
    assert lines[1:] == ["login-failed ip=192.0.6.7 door=api"] * 10  # not one each, without end
    filters = (Path(__file__).parents[2] / "docs/fail2ban/waypost.filter.conf").read_text()
    [pattern] = re.findall(r"failregex = (.*)", filters)
    for line in lines:
        assert re.search(pattern.replace("<ADDR>", r"(?P<ip>[0-9a-f.:]+)"), f"warning {line}")


def test_signing_out_ends_the_session_and_not_only_the_cookie(scene: Scene) -> None:
    with scene.sign_in() as client:
        cookie = client.cookies[cookies.SESSION_COOKIE]
        assert client.post("/logout").status_code == 403
        assert client.post("/logout", data={"csrf": csrf(client.get("/"))}).status_code == 303
    with httpx.Client(base_url=scene.console, cookies={cookies.SESSION_COOKIE: cookie}) as thief:
        assert thief.get("/").status_code == 303


def test_a_new_password_and_the_accounts_end_end_its_sessions(scene: Scene) -> None:
    now = datetime.now(UTC)
    scene.write(lambda connection: accounts.set_password(connection, "bob", PASSWORD, now))
    for end in (
        lambda connection: accounts.set_password(connection, "bob", PASSWORD, now),  # the same one, said again
        lambda connection: accounts.remove_account(connection, "bob"),
    ):
        jar = try_password(scene, "127.0.0.1", PASSWORD, name="bob").cookies
        with httpx.Client(base_url=scene.console, cookies=jar) as client:
            assert client.get("/").status_code == 200
            scene.write(end)
            assert client.get("/").status_code == 303
    assert try_password(scene, "127.0.0.1", PASSWORD, name="bob").status_code == 401


def test_sessions_are_listed_and_each_can_be_signed_out(scene: Scene) -> None:
    with scene.sign_in() as mine, scene.sign_in() as stolen:
        stolen.headers["user-agent"] = "Thief/1.0"
        theirs = stolen.post("/login", data={"name": NAME, "password": PASSWORD})
        assert theirs.status_code == 303
        page = mine.get("/sessions")
        assert page.text.count("this browser") == 1
        row = re.search(r'Thief/1\.0.*?name="session" value="([0-9a-f]{64})"', page.text, re.DOTALL)
        assert row
        assert stolen.get("/").status_code == 200
        assert mine.post("/sessions", data={"session": row[1]}).status_code == 403
        expected = mine.post("/sessions", data={"session": row[1], "csrf": csrf(page)}, follow_redirects=True)
        assert "signed out" in expected.text and "Thief" not in expected.text
        assert stolen.get("/").status_code == 303
        assert mine.get("/").status_code == 200


def test_a_session_ends_with_its_time_whatever_the_cookie_says(scene: Scene) -> None:
    with scene.sign_in() as client:
        assert client.get("/").status_code == 200
        past = datetime.now(UTC) - timedelta(seconds=1)
        table = console_tables.console_session
        scene.write(lambda connection: connection.execute(table.update().values(expires_at=past)))
        assert client.get("/").status_code == 303


@pytest.mark.sqlite
def test_the_database_holds_nothing_that_signs_in(scene: Scene) -> None:
    with scene.sign_in() as client:
        payload = client.cookies[cookies.SESSION_COOKIE].partition(".")[0]
        session = json.loads(base64.b64decode(payload + "=="))["id"]
        assert len(base64.urlsafe_b64decode(session + "=")) == 32
        scene.store.checkpoint()
        octets = b"".join(path.read_bytes() for path in scene.folder.glob("waypost.db*"))
        assert session.encode() not in octets
        assert console_sessions.session_digest(session).encode() in octets


def test_a_forged_cookie_is_no_session(scene: Scene) -> None:
    with scene.sign_in() as client:
        good = client.cookies[cookies.SESSION_COOKIE]
    payload, rest = good.split(".", 1)
    for cookie in ("x", payload, f"{payload[:-2]}AA.{rest}", good[:-1]):
        with httpx.Client(base_url=scene.console, cookies={cookies.SESSION_COOKIE: cookie}) as client:
            assert client.get("/").status_code == 303


@pytest.mark.parametrize("fields", [{"origin": "https://console.example.com"}, {"x-forwarded-proto": "https"}])
def test_behind_https_the_cookies_are_for_https_alone(tmp_path: Path, fields: dict[str, str]) -> None:
    with Scene(tmp_path, {"console": {"hosts": ["console.example.com"]}}) as scene:
        scene.sign_in().close()
        headers = {"host": "console.example.com", **fields}
        form = {"name": NAME, "password": PASSWORD}
        answer = httpx.post(f"{scene.console}/login", data=form, headers=headers)
        assert answer.status_code == 303
        made = [line.lower() for line in answer.headers.get_list("set-cookie")]
        assert {line.partition("=")[0] for line in made} == {"__host-waypost_console", "__host-waypost_browser"}
        for line in made:
            assert "; secure" in line and "httponly" in line and "path=/" in line and "domain=" not in line
        # The browser's requests for pages do not say https; the cookie's name does.
        pairs = "; ".join(line.partition(";")[0] for line in answer.headers.get_list("set-cookie"))
        page = httpx.get(f"{scene.console}/", headers={"host": "console.example.com", "cookie": pairs})
        assert page.status_code == 200
        # What plain http may set is not believed under the name that only https may set.
        plain = pairs.replace("__Host-", "")
        again = httpx.get(f"{scene.console}/", headers={"x-forwarded-proto": "https", "cookie": plain})
        assert again.status_code == 303


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8081", 303),
        ("localhost", 303),
        ("192.0.2.1:8081", 303),
        ("[2001:db8::1]", 303),
        ("console.example.com:443", 303),
        ("relay.example.com", 303),
        ("rebound.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
    ],
)
def test_the_console_answers_under_its_own_names_only(tmp_path: Path, host: str, status: int) -> None:
    given: dict[str, dict[str, object]] = {
        "console": {"hosts": ["console.example.com"]},
        "relay": {"hostname": "relay.example.com"},
    }
    with Scene(tmp_path, given) as scene:
        answer = httpx.get(f"{scene.console}/", headers={"host": host})
        assert answer.status_code == status
        assert ("hosts = [" in answer.text) is (status == 421)
        assert httpx.get(f"{scene.console}/healthz", headers={"host": host}).status_code == 200
        assert httpx.get(f"{scene.console}/api/v1/pixels", headers={"host": host}).status_code == 401


@pytest.mark.sqlite
def test_with_the_database_away_nobody_signs_in_and_nobody_is_locked_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_S", 0.05)
    with Scene(tmp_path) as scene, scene.sign_in() as client:
        lock = sqlite3.connect(tmp_path / "waypost.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")  # it can be read, not written
        for _ in range(12):
            answer = try_password(scene, "192.0.2.7", PASSWORD)
            assert answer.status_code == 503 and "does not answer" in answer.text
        assert client.get("/").status_code == 200
        out = client.post("/logout", data={"csrf": csrf(client.get("/"))})
        assert out.status_code == 503
        lock.execute("ROLLBACK")
        lock.close()
        assert try_password(scene, "192.0.2.7", PASSWORD).status_code == 303
        (tmp_path / "waypost.db").rename(tmp_path / "elsewhere.db")
        for _ in range(12):
            assert try_password(scene, "192.0.2.7", PASSWORD).status_code == 503
        page = client.get("/messages")
        assert page.status_code == 503 and "does not answer" in page.text
        (tmp_path / "elsewhere.db").rename(tmp_path / "waypost.db")
        assert try_password(scene, "192.0.2.7", PASSWORD).status_code == 303
        assert client.get("/").status_code == 200


def test_accounts_are_listed_and_removed_on_the_command_line(tmp_path: Path) -> None:
    with Waypost(tmp_path) as relay:
        relay.cli("user", "add", "ann", stdin=b"correct horse\n")
        assert [row["name"] for row in relay.rows("user", "list")] == ["admin", "ann"]
        answer = httpx.post(f"{relay.console}/login", data={"name": "ann", "password": "correct horse"})
        with httpx.Client(base_url=relay.console, cookies=answer.cookies) as client:
            assert client.get("/").status_code == 200
            assert b"the last account" not in relay.cli("user", "remove", "ann")
            assert client.get("/").status_code == 303
        assert b"no account" in relay.cli("user", "remove", "ann", status=1)
        assert b"admin is the last account; say --yes" in relay.cli("user", "remove", "admin", status=1)
        assert b"It was the last account: waypost user add" in relay.cli("user", "remove", "admin", "--yes")
