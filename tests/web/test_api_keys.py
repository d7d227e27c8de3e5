"""Keys of the API: what each may do, until when, and what a key without rights is answered."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from starlette.routing import Mount, Route

from relay.store.console import api_keys
from relay.store.database import engine, migrate
from tests.waiting import until
from tests.waypost_server import Waypost
from tests.web.api_client import ApiClient
from tests.web.scene import Scene
from web import app


def asking(scene: Scene, *scopes: str, expires_at: datetime | None = None) -> httpx.Client:
    """A client with a new key."""
    name, now = f"key{id(scopes)}{expires_at}", datetime.now(UTC)
    scene.write(lambda connection: api_keys.revoke_key(connection, name))
    key = scene.write(lambda connection: api_keys.create_key(connection, name, now, scopes, expires_at))
    headers = {"authorization": f"Bearer {key}"}
    return httpx.Client(base_url=f"{scene.console}/api/v1", headers=headers)


def code(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])


@pytest.mark.parametrize(
    ("scopes", "allowed", "refused"),
    [
        (["read"], ["GET /pixels", "GET /webhooks", "GET /consent/a@b.c"], ["POST /pixels", "PUT /consent/a@b.c"]),
        (["consent"], ["GET /consent/a@b.c", "PUT /consent/a@b.c"], ["GET /pixels", "GET /webhooks", "POST /webhooks"]),
        (["pixels"], ["GET /pixels", "POST /pixels"], ["GET /webhooks", "DELETE /webhooks/x", "GET /consent/a@b.c"]),
        (["webhooks"], ["GET /webhooks", "POST /webhooks"], ["POST /pixels", "DELETE /consent/a@b.c"]),
        (["consent", "pixels"], ["POST /pixels", "PUT /consent/a@b.c"], ["POST /webhooks/x/enable"]),
        (["write"], ["POST /pixels", "PUT /consent/a@b.c", "DELETE /suppressions"], ["GET /pixels", "GET /queue"]),
        (["*"], ["GET /webhooks", "POST /pixels", "PUT /consent/a@b.c"], []),
        ([], [], ["GET /pixels", "POST /pixels"]),
    ],
)
def test_a_key_may_do_what_its_scopes_say(
    scene: Scene, scopes: list[str], allowed: list[str], refused: list[str]
) -> None:
    with asking(scene, *scopes) as client:
        for line in allowed:
            assert client.request(*line.split()).status_code in (200, 400, 422), (
                line
            )  # bodies and parameters are missing
        for line in refused:
            answer = client.request(*line.split())
            assert (answer.status_code, code(answer)) == (403, "forbidden"), line
            resource = line.split("/")[1]
            assert resource in answer.json()["error"]["message"]
            assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


def test_whatever_route_there_is_a_key_without_its_scope_hears_403(scene: Scene) -> None:
    [mounted] = [
        route
        for route in app.make_console_app(scene.config, scene.store, scene.ring).routes
        if isinstance(route, Mount) and route.path == "/api/v1"
    ]
    routes = [route for route in mounted.routes or () if isinstance(route, Route)]
    with asking(scene, "read") as reader, asking(scene, "nothing") as other:
        for route in routes:
            for method in (route.methods or set()) - {"HEAD"}:
                path = re.sub(r"\{[^}]*\}", "x", route.path)
                assert other.request(method, path).status_code == 403
                if path == "/events/stream":
                    continue  # which would not end
                if path == "/audit":
                    assert reader.get(path).status_code == 403  # it has a scope of its own
                    continue
                assert (reader.request(method, path).status_code == 403) is (method != "GET")
        assert reader.post("/no/such").status_code == 403
        assert reader.get("/no/such").status_code == 404


def test_a_key_ends_when_it_expires_and_says_when(scene: Scene) -> None:
    now = datetime.now(UTC)
    with asking(scene, "read", expires_at=now - timedelta(seconds=1)) as client:
        answer = client.get("/pixels")
        assert (answer.status_code, code(answer)) == (401, "unauthorized")
        assert "expired at 20" in answer.json()["error"]["message"]
        assert "invalid_token" in answer.headers["www-authenticate"]
    with asking(scene, "read", expires_at=now + timedelta(hours=1)) as client:
        assert client.get("/pixels").status_code == 200


def test_the_description_says_what_scope_each_call_needs(scene: Scene) -> None:
    paths = httpx.get(f"{scene.console}/api/openapi.json").json()["paths"]
    assert paths["/webhooks"]["post"]["security"] == [{"key": ["webhooks"]}, {"key": ["write"]}]
    assert paths["/keys"]["post"]["security"] == [{"key": []}]
    assert paths["/consent/{address}"]["get"]["security"] == [{"key": ["consent"]}, {"key": ["read"]}]


def test_the_page_on_the_api_lists_every_call_with_its_scope(scene: Scene) -> None:
    paths = httpx.get(f"{scene.console}/api/openapi.json").json()["paths"]
    described = [
        (method.upper(), path, [scope for way in call["security"] for scope in way["key"]])
        for path, calls in paths.items()
        for method, call in calls.items()
    ]
    page = (Path(__file__).parents[2] / "docs/api.md").read_text("utf-8")
    rows = re.findall(r"^\| ([A-Z]+) \| `(\S+)` \| [^|]+ \| (.+) \|$", page, re.MULTILINE)
    listed = [(method, path, re.findall(r"`(\w+)`", scopes)) for method, path, scopes in rows]
    assert sorted(listed) == sorted(described)


def test_keys_are_made_listed_and_revoked_on_the_command_line(tmp_path: Path) -> None:
    with Waypost(tmp_path) as relay:
        relay.cli("api-key", "create", "shop", "--scope", "consent,read", "--scope", "pixels", "--expires", "90d")
        relay.cli("api-key", "create", "day", "--scope", "read", "--expires", "2999-12-31")
        key = relay.cli("api-key", "create", "all").decode().strip()
        rows = {row["name"]: row for row in relay.rows("api-key", "list")}
        assert rows["shop"]["scopes"] == ["consent", "pixels", "read"]
        expires = datetime.fromisoformat(rows["shop"]["expires_at"]) - datetime.now(UTC)
        assert timedelta(days=89) < expires <= timedelta(days=90)
        assert rows["day"]["expires_at"].startswith("2999-12-31T23:59:59")
        assert rows["all"] | {"created_at": None} == {
            "name": "all", "scopes": ["*"], "created_at": None, "expires_at": None, "used_at": None,
        }  # fmt: skip
        assert "digest" not in json.dumps(rows) and key not in json.dumps(rows)
        asked = httpx.get(f"{relay.console}/api/v1/pixels", headers={"authorization": f"Bearer {key}"})
        assert asked.status_code == 200
        until(lambda: {row["name"]: row for row in relay.rows("api-key", "list")}["all"]["used_at"])
        for words, said in (
            ("--scope everything", b"there is no scope 'everything'; one of read, write, messages"),
            ("--expires soon", b'a duration such as "90d"'),
            ("--expires 2001-01-01", b"past already"),
        ):
            assert said in relay.cli("api-key", "create", "bad", *words.split(), status=2)
        relay.cli("api-key", "revoke", "all")
        asked = httpx.get(f"{relay.console}/api/v1/pixels", headers={"authorization": f"Bearer {key}"})
        assert asked.status_code == 401


def test_keys_from_before_may_do_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = engine.database_url("", tmp_path)
    opened = engine.open_engine(url, may_write=True, may_create=True)
    with opened.begin() as connection:
        migrate._migrate(connection, "0013")
        connection.execute(sa.text("INSERT INTO api_key VALUES ('old', 'digest', 0)"))
    migrate.upgrade_schema(opened)
    with opened.begin() as connection:
        [row] = api_keys.list_keys(connection)
        assert (row["name"], row["scopes"], row["expires_at"]) == ("old", ["*"], None)
    opened.dispose()


def test_keys_are_made_listed_and_ended(scene: Scene, api: ApiClient) -> None:
    new = {"name": "robot", "scopes": ["write", "read"], "expires_at": "2999-12-31T00:00:00Z"}
    made = api.ask("POST", "/keys", 201, json=new)
    assert made["scopes"] == ["read", "write"] and made["key"].startswith("wp_")
    assert "robot" in {one["name"] for one in api.items("/keys")} and made["key"] not in str(api.get("/keys"))
    assert api.refusal("POST", "/keys", 409, json=new) == "there is a key robot already"
    assert "there is no scope 'all'" in api.refusal("POST", "/keys", 422, json=new | {"name": "x", "scopes": ["all"]})
    headers = {"authorization": f"Bearer {made['key']}"}
    with httpx.Client(base_url=api.http.base_url, headers=headers) as robot:
        added = robot.post("/suppressions", json={"address": "by@robot.example"})
        assert (added.status_code, added.json()["evidence"]) == (201, "by the API key robot")
        assert robot.post("/keys", json=new | {"name": "more"}).status_code == 403
        api.ask("DELETE", "/keys/robot", 204)
        assert robot.get("/messages").status_code == 401
    assert api.refusal("DELETE", "/keys/robot", 404)
