"""Stand-alone pixels, made by hand, by the console and by the API, and the API's own manners.

Always: nothing of the API is answered without a key; errors are `{"error": {"code", "message"}}`.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from starlette.routing import Mount, Route

from relay import tokens
from relay.edits import Kind
from relay.event_type import EventType
from relay.store import retention
from relay.store.console import api_keys
from relay.store.database import console_tables
from relay.store.tracking import pixels
from relay.store.tracking.pixels import PixelHit
from tests.postgresql_server import IS_POSTGRESQL
from tests.user_agents import PHONE
from tests.waiting import until
from tests.waypost_server import Waypost
from tests.web.scene import Scene
from web import app

GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)


@pytest.fixture(scope="module")
def program(scene: Scene) -> Iterator[httpx.Client]:
    key = scene.write(lambda connection: api_keys.create_key(connection, "test", NOW))
    with httpx.Client(base_url=f"{scene.console}/api/v1", headers={"authorization": f"Bearer {key}"}) as client:
        yield client


def fetch(url: str, agent: str) -> httpx.Response:
    return httpx.get(url, headers={"user-agent": agent})


def test_nothing_of_the_api_is_answered_without_a_key(scene: Scene, program: httpx.Client) -> None:
    [mounted] = [
        route
        for route in app.make_console_app(scene.config, scene.store, scene.ring).routes
        if isinstance(route, Mount) and route.path == "/api/v1"
    ]
    routes = [route for route in mounted.routes or () if isinstance(route, Route)]
    assert len(routes) >= 6
    good = program.headers["authorization"]
    for said in (None, "", "Bearer", "Bearer x", good + "x", good.replace("Bearer", "Basic"), good[:-1]):
        with httpx.Client(base_url=f"{scene.console}/api/v1") as client:
            headers = {} if said is None else {"authorization": said}
            for path, method in [(route.path, method) for route in routes for method in route.methods or ()] + [
                ("/no/such", "GET")
            ]:
                answer = client.request(method, re.sub(r"\{[^}]*\}", "x", path), headers=headers)
                assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
                if method != "HEAD":
                    assert answer.json()["error"]["code"] == "unauthorized"


def test_a_revoked_key_ends_at_once_and_a_session_is_no_key(scene: Scene) -> None:
    key = scene.write(lambda connection: api_keys.create_key(connection, "short", NOW))
    assert scene.write(lambda connection: api_keys.create_key(connection, "short", NOW)) is None
    headers = {"authorization": f"bearer {key}"}
    assert httpx.get(f"{scene.console}/api/v1/pixels", headers=headers).status_code == 200
    scene.write(lambda connection: api_keys.revoke_key(connection, "short"))
    assert httpx.get(f"{scene.console}/api/v1/pixels", headers=headers).status_code == 401
    with scene.sign_in() as browser:
        assert browser.get("/api/v1/pixels").status_code == 401


def test_a_pixel_made_by_the_api_logs_who_fetches_it_and_repeats_are_one_line(
    scene: Scene, program: httpx.Client
) -> None:
    answer = program.post("/pixels", json={"name": "Offer to Ann"})
    assert answer.status_code == 201
    made = answer.json()
    assert answer.headers["location"] == f"/api/v1/pixels/{made['id']}"
    assert made["url"].startswith(f"{scene.tracking}/o/") and made["url"].endswith(".png")
    png = fetch(made["url"], PHONE)
    assert (png.headers["content-type"], png.content[:4]) == ("image/png", b"\x89PNG")
    assert fetch(made["url"].replace(".png", ".gif"), PHONE).headers["content-type"] == "image/gif"
    httpx.head(made["url"], headers={"user-agent": PHONE})
    for agent in (GMAIL, "Mozilla/5.0", PHONE):
        fetch(made["url"], agent)
    until(lambda: sum(program.get(f"/pixels/{made['id']}").json()["opens"].values()) == 5)
    shown = program.get(f"/pixels/{made['id']}").json()
    assert shown["opens"] == {"human": 3, "proxied": 1, "machine": 1, "unknown": 0}
    assert {(line["verdict"], line["count"], line["ip"]) for line in shown["log"]} == {
        ("human", 3, "127.0.0.0"),
        ("proxied", 1, "127.0.0.0"),
        ("machine", 1, "127.0.0.0"),
    }
    assert {tuple(line["reasons"]) for line in shown["log"] if line["verdict"] == "proxied"} == {
        ("google_image_proxy",)
    }
    listed = program.get("/pixels").json()
    assert next(one for one in listed["items"] if one["id"] == made["id"])["opens"]["human"] == 3


def test_a_pixels_address_outlives_a_rotation_of_the_keys(tmp_path: Path) -> None:
    with Scene(tmp_path) as scene:
        made = scene.write(lambda connection: pixels.create_pixel(connection, scene.ring, "old", NOW))
        tokens.rotate_keys(tmp_path / "keys.json")
        scene.ring.find_key(2)
        assert scene.ring.find_key(2) == scene.ring.keys[-1]
        [seen] = scene.read(lambda connection: pixels.list_pixels(connection, 10))
        assert seen.token == made.token
        fetch(pixels.pixel_url(scene.tracking, seen.token), PHONE)
        until(lambda: scene.read(lambda connection: pixels.list_pixels(connection, 10))[0].opens.human)
        # What has expired goes from the log; the pixel and its count stay.
        gone = scene.write(
            lambda connection: retention.drop_pixel_hits(connection, datetime.now(UTC) + timedelta(days=1))
        )
        assert gone == 1
        [seen] = scene.read(lambda connection: pixels.list_pixels(connection, 10))
        assert (seen.opens.human, seen.last_at) == (1, None)


def test_the_api_says_what_is_wrong(program: httpx.Client) -> None:
    program.post("/pixels", json={"name": "taken"})
    for answer, status, code, word in (
        (program.post("/pixels", json={"name": "taken"}), 409, "name_taken", "taken"),
        (program.post("/pixels", json={"name": " "}), 422, "invalid", "1 to 100"),
        (program.post("/pixels", json={"name": 7}), 422, "invalid", "name"),
        (program.post("/pixels", json={"nome": "x"}), 422, "invalid", "nome"),
        (program.post("/pixels", content=b"{"), 422, "invalid", "JSON"),
        (program.get("/pixels/none"), 404, "not_found", ""),
        (program.get("/pixels/taken"), 404, "not_found", ""),
        (program.delete("/pixels"), 405, "method_not_allowed", ""),
        (program.get("/pixels?limit=x"), 400, "bad_request", "limit"),
        (program.get("/consent/nobody"), 400, "bad_request", "mail address"),
        (program.put("/consent/a@b.example", json={"consent": "yes"}), 422, "invalid", "consent"),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert word in answer.json()["error"]["message"]
        assert set(answer.json()) == {"error"} and answer.headers["cache-control"] == "no-store"


def test_a_list_is_paged_by_its_cursor(program: httpx.Client) -> None:
    names = [f"page {n}" for n in range(5)]
    for name in names:
        program.post("/pixels", json={"name": name})
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = program.get("/pixels", params={"limit": 2, "cursor": cursor}).json()
        assert len(page["items"]) <= 2
        seen += [one["name"] for one in page["items"]]
        cursor = page["next"]
    assert [name for name in seen if name in names] == names[::-1] and len(seen) == len(set(seen))


def test_consent_by_the_api_is_the_last_word_until_it_is_taken_back(program: httpx.Client) -> None:
    path = "/consent/Some.One@example.com"
    assert program.get(path).json() == {
        "address": "Some.One@example.com", "consent": None, "source": None, "at": None, "tracked": True,
    }  # fmt: skip
    said = program.put(path, json={"consent": False}).json()
    assert (said["consent"], said["source"], said["tracked"]) == (False, "api", False)
    assert program.get("/consent/some.one@EXAMPLE.com").json()["tracked"] is False
    assert program.put(path, json={"consent": True}).json()["tracked"] is True
    program.put(path, json={"consent": False})
    assert program.delete(path).json()["consent"] is None


def test_a_withdrawal_by_the_api_holds_for_mail_already_sent(scene: Scene, program: httpx.Client) -> None:
    message = scene.file("gone@example.com", "stays@example.com")
    program.put("/consent/gone@example.com", json={"consent": False})
    for number in (0, 1):
        assert scene.http.get(scene.path(Kind.CLICK, message, number)).status_code == 302
    until(lambda: scene.events(message, EventType.CLICKED))
    assert [event["recipient"] for event in scene.events(message)] == ["stays@example.com"]
    assert scene.delivery(message, 0)["clicks_human"] == 0


def test_the_console_makes_a_pixel_and_shows_what_to_paste_and_its_log(scene: Scene) -> None:
    with scene.sign_in() as browser:
        form = browser.get("/pixels")
        token = re.search(r'name="csrf" value="([^"]+)"', form.text)
        assert token
        assert browser.post("/pixels", data={"name": "x"}).status_code == 403
        made = browser.post("/pixels", data={"name": "<b>Menu</b>", "csrf": token[1]})
        assert made.status_code == 303
        page = browser.get(made.headers["location"])
        assert "&lt;b&gt;Menu&lt;/b&gt;" in page.text and "<b>Menu" not in page.text
        [url] = set(re.findall(rf"{scene.tracking}/o/[\w-]+\.png", page.text))
        assert f"&lt;img src=&#34;{url}&#34;" in page.text or f'&lt;img src="{url}"' in page.text
        for agent in (GMAIL, PHONE, PHONE):
            fetch(url, agent)
        until(lambda: "2 times" in browser.get(made.headers["location"]).text)
        page = browser.get(made.headers["location"])
        assert "Opened, through a mail proxy" in page.text and "because: google image proxy" in page.text
        again = browser.post("/pixels", data={"name": "<b>Menu</b>", "csrf": token[1]})
        assert again.headers["location"] == "/pixels"
        assert "There is a pixel named" in browser.get("/pixels").text
        assert browser.get("/pixels/none").status_code == 404


def test_a_pixel_that_was_removed_shows_its_picture_and_counts_nothing(scene: Scene, program: httpx.Client) -> None:
    made = program.post("/pixels", json={"name": "Away"}).json()
    assert fetch(made["url"], PHONE).status_code == 200
    until(lambda: program.get(f"/pixels/{made['id']}").json()["log"])
    assert program.delete(f"/pixels/{made['id']}").status_code == 204
    assert program.delete(f"/pixels/{made['id']}").status_code == 404
    assert program.get(f"/pixels/{made['id']}").status_code == 404
    left = scene.write(
        lambda connection: connection.scalars(
            sa.select(console_tables.pixel_hit.c.id).filter_by(pixel=made["id"])
        ).all()
    )
    assert left == []
    assert (fetch(made["url"], PHONE).status_code, fetch(made["url"], PHONE).content[:4]) == (200, b"\x89PNG")

    again = program.post("/pixels", json={"name": "Away"}).json()
    with scene.sign_in() as browser:
        page = browser.get(f"/pixels/{again['id']}").text
        token = re.search(r'name="csrf" value="([^"]+)"', page)
        assert token and f'action="/pixels/{again["id"]}/remove"' in page
        assert browser.post(f"/pixels/{again['id']}/remove").status_code == 403
        assert browser.post(f"/pixels/{again['id']}/remove", data={"csrf": token[1]}).headers["location"] == "/pixels"
        shown = browser.get("/pixels").text
        assert "gone" in shown and "Away" not in shown


def test_the_api_is_described_by_what_it_does(scene: Scene, program: httpx.Client) -> None:
    told = httpx.get(f"{scene.console}/api/openapi.json").json()
    assert told["openapi"].startswith("3.") and told["servers"] == [{"url": "/api/v1"}]
    paths = told["paths"]
    assert set(paths["/pixels/{pixel}"]) == {"get", "delete"} and set(paths["/consent/{address}"]) == {
        "get", "put", "delete",
    }  # fmt: skip
    body = paths["/pixels"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    body = told["components"]["schemas"][body["$ref"].rpartition("/")[2]]
    assert body["required"] == ["name"] and "201" in paths["/pixels"]["post"]["responses"]
    assert {"limit", "cursor"} == {one["name"] for one in paths["/pixels"]["get"]["parameters"]}
    operations = [(path, method) for path, methods in paths.items() for method in methods]
    assert len({paths[path][method]["operationId"] for path, method in operations}) == len(operations) >= 14
    operations.remove(("/events/stream", "get"))  # which does not end
    for path, method in operations:  # each is there: a method that is not would get 405
        answer = program.request(method.upper(), re.sub(r"\{\w+\}", "x", path), content=b"?")
        assert answer.status_code not in (405, 500), (method, path)


def test_quick_repeats_of_one_visitor_are_one_line_and_strangers_are_not() -> None:
    def hit(seconds: float, agent: str = PHONE, ip: str = "192.0.2.0", verdict: str = "human") -> PixelHit:
        return PixelHit(id=str(seconds), pixel="p", at=NOW + timedelta(seconds=seconds), verdict=verdict,
                        reasons=[], user_agent=agent, ip=ip)  # fmt: skip

    newest_first = [hit(400), hit(130), hit(60, GMAIL, verdict="proxied"), hit(20), hit(10, ip="198.51.100.0"), hit(0)]
    lines = pixels.group_repeats(newest_first)
    assert [(line.times, line.verdict) for line in lines] == [(1, "human"), (3, "human"), (1, "proxied"), (1, "human")]
    assert (lines[1].first_at, lines[1].last_at) == (NOW, NOW + timedelta(seconds=130))
    nobody = [hit(n, "", "") for n in (3, 2, 1)]  # where privacy keeps neither, nobody is the same
    assert [line.times for line in pixels.group_repeats(nobody)] == [1, 1, 1]


def test_the_command_line_makes_lists_shows_and_removes_pixels_and_keys(sandbox: Waypost) -> None:
    id_, url = sandbox.cli("pixel", "create", "By hand").decode().split()
    assert fetch(url, PHONE).status_code == 200
    assert sandbox.rows("token", "read", url)[0]["recipient"] is None
    until(lambda: sandbox.rows("pixel", "show", "By hand")[0]["opens"]["human"])
    [shown] = sandbox.rows("pixel", "show", id_)
    assert (shown["url"], shown["html"]) == (url, f'<img src="{url}" width="1" height="1" alt="">')
    assert [line["verdict"] for line in shown["log"]] == ["human"]
    assert [row["name"] for row in sandbox.rows("pixel", "list")] == ["By hand"]
    assert b"already" in sandbox.cli("pixel", "create", "By hand", status=1)
    assert b"no pixel" in sandbox.cli("pixel", "show", "other", status=1)
    key = sandbox.cli("api-key", "create", "shop").decode().strip()
    headers = {"authorization": f"Bearer {key}"}
    assert httpx.get(f"{sandbox.console}/api/v1/pixels", headers=headers).json()["items"][0]["id"] == id_
    assert sandbox.cli("pixel", "remove", "By hand").decode().split() == ["removed", id_]
    assert b"no pixel" in sandbox.cli("pixel", "remove", id_, status=1)
    assert b"shop" in sandbox.cli("api-key", "create", "shop", status=1)
    assert "shop" in [row["name"] for row in sandbox.rows("api-key", "list")]
    sandbox.cli("api-key", "revoke", "shop")
    assert httpx.get(f"{sandbox.console}/api/v1/pixels", headers=headers).status_code == 401
    assert b"no key" in sandbox.cli("api-key", "revoke", "shop", status=1)
    if not IS_POSTGRESQL:
        assert key.encode() not in (sandbox.folder / "data" / "waypost.db").read_bytes()
