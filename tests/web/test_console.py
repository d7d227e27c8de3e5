"""The console, as an operator's browser uses it.

Always: no page without a session; what came in mail is shown as text; a page has no script but the console's file.
"""

import re
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from starlette.routing import Mount, Route

from relay.event_type import EventType
from relay.store.database.tables import Status
from relay.store.queue import queue_facts
from relay.store.recipients import suppressions
from tests.web.scene import NAME, PASSWORD, Scene, csrf
from web import app
from web.console import sign_in

EVIL = "<script>alert('x')</script>\"'&<b>"


def anonymous(scene: Scene) -> httpx.Client:
    return httpx.Client(base_url=scene.console)


def test_no_page_is_shown_without_a_session(scene: Scene) -> None:
    message = scene.file()
    seen = 0
    with anonymous(scene) as client:
        for route in app.make_console_app(scene.config, scene.store, scene.ring).routes:
            if isinstance(route, Mount):
                assert route.path in ("/static", "/api/v1")  # the API asks for a key: test_pixels
                continue
            assert isinstance(route, Route)
            path = re.sub(r"\{number:int\}", "0", route.path).replace("{message}", message)
            for method in route.methods or ():
                if path.startswith("/login") or path in (
                    "/healthz",
                    "/api/openapi.json",
                ):  # the last tells nothing of this installation
                    continue
                answer = client.request(method, path)
                assert answer.status_code == 303, (method, path)
                assert answer.headers["location"].startswith("/login")
                assert "Hello" not in answer.text
                seen += 1
        assert seen >= 14
        assert client.get("/no/such/page").headers["location"] == "/login?next=/no/such/page"
        assert client.get("/messages?q=a%26b").headers["location"] == "/login?next=/messages%3Fq%3Da%2526b"
        assert client.get("/healthz").text == "ok\n"
        assert client.get("/static/console.css").headers["content-type"].startswith("text/css")


def test_signing_in_leads_to_the_page_that_was_asked_for(scene: Scene) -> None:
    scene.sign_in().close()
    with anonymous(scene) as client:
        form = client.get("/login?next=/messages%3Fq%3Dx")
        assert form.status_code == 200 and 'type="password"' in form.text
        answer = client.post("/login", data={"name": NAME, "password": PASSWORD, "next": "/messages?q=x"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/messages?q=x")
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=lax" in cookie and f"max-age={14 * 86400}" in cookie
        assert client.get("/messages").status_code == 200


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:x", ""])
def test_signing_in_never_leads_to_another_host(scene: Scene, target: str) -> None:
    scene.sign_in().close()
    with anonymous(scene) as client:
        answer = client.post("/login", data={"name": NAME, "password": PASSWORD, "next": target})
        assert answer.headers["location"] == "/"


def test_a_form_of_another_site_changes_nothing(scene: Scene, browser: httpx.Client) -> None:
    token = csrf(browser.get("/suppressions"))
    form = {"address": "forged@example.com"}
    for data, headers in (
        (form, {}),
        (form | {"csrf": "x"}, {}),
        (form | {"csrf": token}, {"sec-fetch-site": "cross-site"}),
        (form | {"csrf": token}, {"sec-fetch-site": "same-site"}),
        (form | {"csrf": token}, {"origin": "https://evil.example"}),
        (form | {"csrf": token}, {"origin": "null"}),
    ):
        answer = browser.post("/suppressions", data=data, headers=headers)
        assert answer.status_code == 403
        assert "out of date" in answer.text
    assert not scene.read(lambda session: suppressions.list_suppressions(session, 10, "forged"))
    elsewhere = {"origin": "https://evil.example"}
    assert browser.post("/login", data={"name": NAME, "password": PASSWORD}, headers=elsewhere).status_code == 403


def test_the_first_account_is_made_once(tmp_path: Path) -> None:
    with Scene(tmp_path) as scene:
        made = sign_in.create_first_account(scene.store)
        assert made is not None and made[0] == "admin"
        assert re.fullmatch(r"([a-z2-9]{5}-){3}[a-z2-9]{5}", made[1])
        assert sign_in.create_first_account(scene.store) is None
        with anonymous(scene) as client:
            assert client.post("/login", data=dict(zip(("name", "password"), made, strict=True))).status_code == 303


@pytest.mark.parametrize("upstream", [[], [{"address": "127.0.0.1:25"}]])
def test_every_page_teaches_when_there_is_nothing_yet(tmp_path: Path, upstream: list[dict[str, object]]) -> None:
    with Scene(tmp_path, {"upstream": upstream}) as scene, scene.sign_in() as client:  # type: ignore[dict-item]
        for path in ("/", "/messages", "/mailbox"):
            page = client.get(path)
            assert page.status_code == 200
            assert "swaks --server 127.0.0.1:2525" in page.text
        assert ("Sandbox: mail goes nowhere" in client.get("/").text) is (not upstream)
        assert "No address is suppressed" in client.get("/suppressions").text


def _tags(page: str) -> list[tuple[str, dict[str, str]]]:
    """The page's tags with their attributes, as a browser sees them."""
    found: list[tuple[str, dict[str, str]]] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: found.append((tag, {name: value or "" for name, value in attrs}))  # type: ignore[method-assign]
    parser.feed(page)
    return found


def test_pages_have_a_policy_with_no_script_but_the_console_s_own(browser: httpx.Client) -> None:
    for path in ("/", "/messages", "/mailbox", "/suppressions", "/login", "/nothing"):
        answer = browser.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self';" in policy and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy and "form-action 'self'" in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        for tag, attributes in _tags(answer.text):
            assert tag != "script" or attributes.get("src", "").startswith("/static/console.js?v=")
            assert not any(name == "style" or name.startswith("on") for name in attributes)
            assert not any(attributes.get(name, "").startswith(("http", "//")) for name in ("src", "href"))


def test_what_came_in_mail_is_shown_as_text(scene: Scene, browser: httpx.Client) -> None:
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = EVIL, "app@example.com", "you@example.com"
    mail["X-Evil"] = EVIL
    mail.set_content(EVIL)
    message = scene.file(
        octets=bytes(mail),
        subject=EVIL,
        author=EVIL,
        message_id=EVIL,
        stream=EVIL,
        tags=[EVIL],
        meta={EVIL: EVIL},
        client=EVIL,
        reverse_path=EVIL,
        links=[{"url": EVIL, "decision": EVIL, "reason": EVIL, "text": EVIL}],
        reasons=[EVIL],
        attempt=queue_facts.AttemptRecord(EVIL, EVIL, 250, EVIL, EVIL, 1),
    )
    scene.hit(message, EventType.CLICKED, "human", url=EVIL, user_agent=EVIL, reasons=(EVIL,), ip=EVIL)
    paths = ["/", "/messages", f"/messages/{message}", "/mailbox", f"/messages?q={EVIL}&stream={EVIL}"]
    paths += [f"/mailbox/{message}/0?view={view}" for view in ("text", "headers", "source")]
    paths += [f"/suppressions?q={EVIL}", f"/mailbox?q={EVIL}"]
    for path in paths:
        page = browser.get(path)
        assert page.status_code == 200, path
        assert "<script>" not in page.text and '<b>"' not in page.text
        assert "&lt;script&gt;" in page.text, path


def test_the_overview_counts_people_apart_from_machines(tmp_path: Path) -> None:
    with Scene(tmp_path) as scene, scene.sign_in() as client:
        message = scene.file("a@example.com", "b@example.com")
        scene.file(status=Status.BOUNCED)
        for verdict, count in (("human", 2), ("proxied", 1), ("machine", 4)):
            for _ in range(count):
                scene.hit(message, EventType.OPENED, verdict)
        text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", client.get("/").text))
        assert "Sent 3 new" in text and "Delivered 2 66.7 % of sent" in text
        assert "Opened by people 7 opens, repeated and by machines too 1 50.0 % of delivered" in text
        assert "Bounce rate 33.3 %" in text and "1 of 3 limit 2 %" in text and "grow wary" in text
        assert "Messages accepted 2" in text
        assert "Opens 1 opened by people 50.0 % People 2 Through mail proxies 1" in text
        assert "Machines 4 Unknown 0 A delivery counts once" in text
        assert re.search(r"By stream .* news 2 2 33.3 % 50.0 %", text)


def test_the_overview_is_of_the_range_in_its_address(scene: Scene, browser: httpx.Client) -> None:
    scene.file(tags=["weekly"])
    today, yesterday = (datetime.now(UTC).date() - timedelta(days=n) for n in (0, 1))
    for query in ("", "span=24h", "span=90d", f"from={yesterday}", f"from={yesterday}&to=2999-01-01"):
        page = browser.get(f"/?{query}").text
        assert 'href="/messages?q=tag%3A%22weekly%22">weekly' in page, query
    assert "By tag" not in browser.get("/?from=2020-01-01&to=2020-12-31").text
    assert "Deliveries by seven days" in browser.get("/?from=2020-01-01&to=2020-12-31").text
    assert "Deliveries by hour" in browser.get(f"/?from={today}&to={today}").text
    for odd in ("from=x", "from=2999-01-01", "from=0001-01-01", "span=1y", "from=2020-01-01&to=2019-01-01"):
        assert 'aria-current="true">7 days' in browser.get(f"/?{odd}").text, odd


def test_a_figure_with_nothing_to_compare_with_has_no_loose_dot(tmp_path: Path) -> None:
    with Scene(tmp_path) as scene, scene.sign_in() as browser:
        scene.file()
        page = browser.get("/").text
        assert "100.0 % of sent · <span" in page
        assert re.search(r"0\.0 % of delivered\s*<", page) and not re.search(r"·\s*(<span class=\"raw|</small)", page)


def test_messages_are_found_and_paged(tmp_path: Path) -> None:
    with Scene(tmp_path) as scene, scene.sign_in() as client:
        for n in range(60):
            scene.file(f"r{n}@example.com", subject=f"Number {n:02}", stream="news" if n % 2 else "bills")
        bounced = scene.file("gone@example.com", status=Status.BOUNCED, subject="100 % gone", message_id="x1@y.example")

        def subjects(path: str) -> list[str]:
            return re.findall(r'<td class="what"><a [^>]+>([^<]+)</a>', client.get(path).text)

        first = client.get("/messages")
        older = re.search(r'href="(/messages\?before=[^"]+)">Older', first.text)
        assert older
        both = subjects("/messages") + subjects(older[1])
        assert both == ["100 % gone", *(f"Number {n:02}" for n in reversed(range(60)))]
        assert subjects("/messages?q=R7@EXAMPLE") == ["Number 07"]
        assert subjects("/messages?q=%25") == ["100 % gone"]  # a letter, not a pattern
        assert subjects("/messages?q=%3Cx1@y.example%3E") == ["100 % gone"]
        assert subjects("/messages?status=bounced") == ["100 % gone"]
        assert len(subjects("/messages?stream=bills")) == 30
        assert "Nothing matches" in client.get("/messages?q=nothing+like+it").text
        assert client.get(f"/messages/{bounced}").status_code == 200
        assert client.get("/messages/unknown").status_code == 404


def test_one_message_tells_its_whole_story(scene: Scene, browser: httpx.Client) -> None:
    tried = queue_facts.AttemptRecord("primary", "rcpt", 451, "4.7.1", "Greylisted, try in 5 minutes", 142)
    message = scene.file(
        "you@example.com",
        status=Status.DEFERRED,
        attempt=tried,
        links=[{"url": "https://a.example/", "decision": "skipped", "reason": "opt_out", "text": "A"}],
        reasons=["already_signed"],
    )
    scene.hit(message, EventType.OPENED, "machine", reasons=("apple_prefetch",), user_agent="Mozilla/5.0")
    page = browser.get(f"/messages/{message}").text
    for fact in (
        "451 4.7.1",
        "Greylisted, try in 5 minutes",
        "142 ms",
        "Picture fetched by a machine",
        "apple prefetch",
        "https://a.example/",
        "opt out",
        "already signed",
    ):
        assert fact in page, fact
    places = [page.index(f'<p class="event-title">{told}') for told in ("Accepted", "Deferred", "Picture fetched")]
    assert places == sorted(places)


def test_suppressions_are_added_and_removed_after_asking(scene: Scene, browser: httpx.Client) -> None:
    def form(**fields: str) -> dict[str, str]:
        return {"csrf": csrf(browser.get("/suppressions")), **fields}

    answer = browser.post("/suppressions", data=form(address="Stop@Example.com", stream=""), follow_redirects=True)
    assert "Stop@Example.com gets no more mail." in answer.text
    assert "Stop@Example.com gets" not in browser.get("/suppressions").text  # said once
    now = datetime.now(UTC) + timedelta(seconds=1)
    assert scene.read(lambda session: suppressions.find_suppressed(session, ["stop@example.com"], "any", now))
    assert "stop@example.com" in browser.get("/suppressions?q=STOP").text
    entry = {"address": "stop@example.com", "scope": "all", "stream": ""}
    asked = browser.get("/suppressions/remove", params=entry)
    assert "Write to stop@example.com again?" in asked.text
    assert scene.read(lambda session: suppressions.find_suppressed(session, ["stop@example.com"], "any", now))
    browser.post("/suppressions/remove", data=form(**entry))
    assert not scene.read(lambda session: suppressions.find_suppressed(session, ["stop@example.com"], "any", now))
    for bad in ("", "nobody", "<>", "a@b>\r\nx", "postmaster"):
        refused = browser.post("/suppressions", data=form(address=bad), follow_redirects=True)
        assert "no mail address" in refused.text


def test_clicks_stand_beside_the_link_that_was_clicked_where_a_url_is_there_twice(
    scene: Scene, browser: httpx.Client
) -> None:
    link = {"url": "https://shop.example/", "decision": "tracked", "reason": ""}
    message = scene.file(links=[link | {"number": n, "text": text} for n, text in ((1, "head"), (2, "foot"))])
    for n in (2, 2, 1):
        scene.hit(message, EventType.CLICKED, "human", url=link["url"], link=n)
    scene.hit(message, EventType.CLICKED, "machine", url=link["url"], link=1)
    page = browser.get(f"/messages/{message}").text
    rows = re.findall(
        r"<small>(head|foot)</small>.*?<td class=\"end\" data-name=\"Clicks\"><b>(\d+)</b>", page, re.DOTALL
    )
    assert rows == [("head", "1"), ("foot", "2")]
