"""What a viewer, an operator and an admin may do in the console.

Always: the server refuses what a page does not offer, and nothing is changed.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import httpx
import pytest
import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from relay.config.sign_in import RoleName
from relay.store.console import accounts
from relay.store.console.roles import AccountRole
from relay.store.database import engine, migrate
from relay.store.database.tables import Status
from relay.store.recipients import suppressions
from tests.waypost_server import Waypost
from tests.web.scene import PASSWORD, Scene, csrf
from web import app
from web.console import permissions

VIEWER, OPERATOR, ADMIN = AccountRole


@pytest.fixture(scope="module")
def browsers(scene: Scene) -> Iterator[dict[AccountRole, httpx.Client]]:
    """A browser for each role, in which an account of the role's name is signed in."""
    opened, now = {}, datetime.now(UTC)
    for role in AccountRole:
        scene.write(lambda connection, role=role: accounts.set_password(connection, role, PASSWORD, now, role))  # type: ignore[misc]
        answer = httpx.post(f"{scene.console}/login", data={"name": role, "password": PASSWORD})
        opened[role] = httpx.Client(base_url=scene.console, cookies=answer.cookies)
    yield opened
    for one in opened.values():
        one.close()


def console_routes(scene: Scene) -> list[tuple[str, str]]:
    """Method and path of every route of the console; those of the API ask for keys."""
    routes = app.make_console_app(scene.config, scene.store, scene.ring).routes
    assert {route.path for route in routes if isinstance(route, Mount)} == {"/api/v1", "/static"}
    return [
        (method, route.path)
        for route in routes
        if isinstance(route, Route)
        for method in (route.methods or {"GET"}) - {"HEAD"}
    ]


def change(browser: httpx.Client, path: str, **form: str) -> httpx.Response:
    return browser.post(path, data={"csrf": csrf(browser.get("/"))} | form)


def shown_notice(browser: httpx.Client, answer: httpx.Response) -> str:
    """What the next page says of it."""
    assert answer.status_code == 303, answer.text
    page = browser.get(answer.headers["location"]).text
    return str(re.findall(r'role="status">([^<]+)<', page)[0])


def test_every_route_has_a_role_and_none_is_left_in_the_table(scene: Scene) -> None:
    named = sorted(f"{method} {path}" for method, path in console_routes(scene))
    assert named == sorted(permissions.ROUTE_ROLES)


async def _nothing(request: Request) -> Response:
    return Response()


def test_a_route_without_a_role_stops_the_start() -> None:
    with pytest.raises(KeyError, match="POST /new"):
        permissions.guard_routes([Route("/new", _nothing, methods=["POST"])])


def test_each_role_gets_what_the_table_says_and_nobody_gets_anything_without_a_session(
    scene: Scene, browsers: dict[AccountRole, httpx.Client]
) -> None:
    with httpx.Client(base_url=scene.console) as nobody:
        for method, path in console_routes(scene):
            needed = permissions.ROUTE_ROLES[f"{method} {path}"]
            if needed is None or path == "/logout":
                continue
            asked = re.sub(r"\{\w+(:\w+)?\}", lambda found: "1" if found[1] else "x", path)
            turned_away = nobody.request(method, asked)
            assert turned_away.status_code == 303 and turned_away.headers["location"].startswith("/login")
            for role, browser in browsers.items():
                with browser.stream(method, asked) as answer:  # one of them never ends
                    is_refused = answer.status_code == 403 and b"Your account may not do that" in answer.read()
                assert is_refused is not role.includes(needed), f"{role}: {method} {path} {answer.status_code}"


def test_who_may_not_learns_in_plain_words_who_may(browsers: dict[AccountRole, httpx.Client]) -> None:
    page = browsers[VIEWER].post("/queue").text
    assert "viewer is a viewer. This needs an operator or an admin. Nothing was changed." in page
    assert "operator is an operator. This needs an admin." in browsers[OPERATOR].get("/settings").text
    assert 'href="/messages"' in page  # the frame is there


def test_a_viewer_changes_nothing_whatever_form_they_send(
    scene: Scene, browsers: dict[AccountRole, httpx.Client]
) -> None:
    later = {"kind": "soft", "next_attempt_at": datetime.now(UTC) + timedelta(hours=1)}
    message = scene.file("waits@example.com", status=Status.DEFERRED, outcome=later)
    viewer = browsers[VIEWER]
    for path, form in (
        (f"/messages/{message}", {"do": "drop", "delivery": f"{message}.0"}),
        ("/queue", {"do": "drop", "delivery": f"{message}.0"}),
        ("/suppressions", {"address": "a@b.example"}),
        ("/settings/accounts/role", {"name": "viewer", "role": "admin"}),
    ):
        assert change(viewer, path, **form).status_code == 403
    assert scene.delivery(message)["status"] == Status.DEFERRED
    assert not scene.read(lambda connection: suppressions.list_suppressions(connection, 1, "a@b.example"))
    assert viewer.get("/settings").status_code == 403
    assert "dropped" in shown_notice(
        browsers[OPERATOR], change(browsers[OPERATOR], "/queue", do="drop", delivery=f"{message}.0")
    )
    assert scene.delivery(message)["status"] == Status.EXPIRED


def test_nobody_is_shown_a_form_that_they_may_not_use(scene: Scene, browsers: dict[AccountRole, httpx.Client]) -> None:
    later = {"kind": "soft", "next_attempt_at": datetime.now(UTC) + timedelta(hours=1)}
    message = scene.file("two@example.com", "three@example.com", status=Status.DEFERRED, outcome=later)
    scene.write(
        lambda connection: suppressions.add_suppression(
            connection, "shown@example.com", reason="manual", at=datetime.now(UTC)
        )
    )
    pages = ["/", "/messages", f"/messages/{message}", "/queue", "/suppressions", "/pixels", "/webhooks", "/sessions"]
    targets = {
        f"{method} {path}": re.compile(re.sub(r"\\\{[^}]*\}", "[^/]+", re.escape(path)))
        for method, path in console_routes(scene)
    }
    for role, browser in browsers.items():
        for page in pages:
            text = browser.get(page).text
            for form in re.findall(r'<form[^>]* method="post" action="([^"]+)"', text):
                needed = next(
                    permissions.ROUTE_ROLES[name]
                    for name, pattern in targets.items()
                    if name.startswith("POST ") and pattern.fullmatch(form)
                )
                assert needed is not None and role.includes(needed), f"{role}: {page}: {form}"
            assert ('href="/settings"' in text) is (role is ADMIN)
            assert ("/suppressions/remove?" in text) is (page == "/suppressions" and role is not VIEWER)


def test_a_new_role_holds_at_once_in_open_sessions(scene: Scene, browsers: dict[AccountRole, httpx.Client]) -> None:
    admin, viewer = browsers[ADMIN], browsers[VIEWER]
    answer = change(admin, "/settings/accounts/role", name="viewer", role="admin")
    assert shown_notice(admin, answer) == "viewer is now an admin."
    assert viewer.get("/settings").status_code == 200
    change(admin, "/settings/accounts/role", name="viewer", role="viewer")
    assert viewer.get("/settings").status_code == 403
    assert "your own role" in shown_notice(admin, change(admin, "/settings/accounts/role", name="admin", role="viewer"))
    assert change(admin, "/settings/accounts/role", name="viewer", role="owner").status_code == 400


def test_an_admin_makes_accounts_in_the_console(scene: Scene, browsers: dict[AccountRole, httpx.Client]) -> None:
    admin, path = browsers[ADMIN], "/settings/accounts"
    new = {"name": "eve", "password": "long enough", "role": "operator"}
    assert "eve is made, with the role operator" in shown_notice(admin, change(admin, path, **new))
    answer = httpx.post(f"{scene.console}/login", data=new)
    assert answer.status_code == 303
    assert "already" in shown_notice(admin, change(admin, path, **new | {"password": "another one"}))
    assert httpx.post(f"{scene.console}/login", data=new).status_code == 303  # with the first password
    assert "characters or more" in shown_notice(admin, change(admin, path, **new | {"name": "f", "password": "short"}))
    assert "Nothing was made" in shown_notice(admin, change(admin, path, **new | {"name": " "}))


def test_sessions_of_others_are_an_admins(scene: Scene, browsers: dict[AccountRole, httpx.Client]) -> None:
    admin, operator = browsers[ADMIN], browsers[OPERATOR]
    assert "<b>admin</b>" not in operator.get("/sessions").text
    everybody = admin.get("/sessions").text
    theirs = re.search(r'<b>operator</b>.*?action="/sessions/others".*?value="([0-9a-f]{64})"', everybody, re.DOTALL)
    mine = re.search(r'<b>admin</b>.*?action="/sessions".*?value="([0-9a-f]{64})"', everybody, re.DOTALL)
    assert theirs and mine
    assert "had ended already" in shown_notice(operator, change(operator, "/sessions", session=mine[1]))
    assert admin.get("/").status_code == 200
    assert change(operator, "/sessions/others", session=mine[1]).status_code == 403
    with httpx.Client(base_url=scene.console) as other:
        other.post("/login", data={"name": "viewer", "password": PASSWORD})
        page = admin.get("/sessions").text
        session = re.search(r'<b>viewer</b>.*?value="([0-9a-f]{64})"', page, re.DOTALL)  # the latest comes first
        assert session
        assert "signed out" in shown_notice(admin, change(admin, "/sessions/others", session=session[1]))
        assert other.get("/").status_code == 303


def test_roles_are_said_and_changed_on_the_command_line(tmp_path: Path) -> None:
    with Waypost(tmp_path) as relay:
        relay.cli("user", "add", "ann", "--role", "viewer", stdin=b"correct horse\n")
        relay.cli("user", "add", "all", stdin=b"correct horse\n")
        roles = {row["name"]: row["role"] for row in relay.rows("user", "list")}
        assert roles == {"admin": "admin", "ann": "viewer", "all": "admin"}
        assert relay.cli("user", "role", "ann", "operator") == b"ann is now an operator\n"
        relay.cli("user", "add", "ann", stdin=b"another horse\n")  # a new password, and the role stays
        assert {row["name"]: row["role"] for row in relay.rows("user", "list")}["ann"] == "operator"
        assert b"no account named bob" in relay.cli("user", "role", "bob", "viewer", status=1)
        relay.cli("user", "role", "all", "viewer")
        assert b"admin is the last admin" in relay.cli("user", "role", "admin", "viewer", status=1)
        assert b"admin is the last admin; say --yes" in relay.cli("user", "remove", "admin", status=1)
        assert b"must be one of viewer, operator, admin, not 'owner'" in relay.cli(
            "user", "role", "ann", "owner", status=2
        )


def test_accounts_from_before_are_admins(tmp_path: Path) -> None:
    opened = engine.open_engine(engine.database_url("", tmp_path), may_write=True, may_create=True)
    with opened.begin() as connection:
        migrate._migrate(connection, "0018")
        connection.execute(sa.text("INSERT INTO account (name, password_hash, created_at) VALUES ('old', 'x', 0)"))
    migrate.upgrade_schema(opened)
    with opened.begin() as connection:
        assert [row["role"] for row in accounts.list_accounts(connection)] == ["admin"]
    opened.dispose()


def test_the_configuration_has_a_name_for_each_role() -> None:
    assert set(get_args(RoleName)) == set(AccountRole)
