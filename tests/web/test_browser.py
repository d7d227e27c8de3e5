"""The console in a real browser: Chromium, driven by Playwright, on one server with mail of each kind.

Always: nothing on the console of the browser, no page wider than the screen, axe finds nothing.
"""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any, NamedTuple

import pytest

from relay import ids
from relay.event_type import EventType
from relay.store import upstream_states
from relay.store.console import accounts, api_keys
from relay.store.database.tables import Status
from relay.store.queue import late_reports
from relay.store.queue.late_reports import LateReport
from relay.store.queue.queue_facts import AttemptRecord
from relay.store.recipients import suppressions
from relay.store.upstream_states import ReportedState
from tests.web.oidc_provider import CLIENT_ID, CLIENT_SECRET, OidcProvider
from tests.web.scene import NAME, PASSWORD, Scene

sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install '.[test]'")
axe_playwright = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe: pip install '.[test]'")

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
EVIL = "<img src=x onerror=\"document.title='owned'\">"
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
BLOCKED = "http://127.0.0.1:9/r.png"  # a picture of the mail that lies elsewhere


class Mails(NamedTuple):
    """Messages that the tests open."""

    opened: str
    waiting: str
    suppressed: str


def make_mail() -> bytes:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "Shop <shop@example.com>", "ann@example.com", f"Offers {EVIL}"
    mail.set_content("plain words")
    mail.add_alternative(
        '<h1>Offers</h1><p><a href="https://shop.example/a">Read</a></p>' + f'<img src="{BLOCKED}" alt="">',
        subtype="html",
    )
    mail.add_attachment(b"%PDF-1.4", maintype="application", subtype="pdf", filename=f"bill{EVIL}.pdf")
    return bytes(mail).replace(b"\n", b"\r\n")


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    with OidcProvider() as running:
        yield running


@pytest.fixture(scope="module")
def scene(provider: OidcProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    oidc = {"issuer": provider.issuer, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "name": "Example"}
    given: dict[str, Any] = {
        "upstream": [{"name": "primary", "address": "127.0.0.1:1", "tls": "off"}],
        "console": {"oidc": oidc | {"viewers": ["*"]}},
    }
    with Scene(tmp_path_factory.mktemp("browser"), given) as running:
        running.write(lambda connection: accounts.set_password(connection, NAME, PASSWORD, datetime.now(UTC)))
        yield running


@pytest.fixture(scope="module")
def mails(scene: Scene) -> Mails:
    now = datetime.now(UTC)
    opened = scene.file(
        "ann@example.com",
        "bob@example.com",
        octets=make_mail(),
        subject=f"Offers {EVIL}",
        tags=["weekly"],
        links=[{"number": 1, "url": "https://shop.example/a", "decision": "tracked", "reason": "", "text": "Read"}],
    )
    scene.hit(opened, EventType.OPENED, "human", user_agent=EVIL)
    scene.hit(opened, EventType.CLICKED, "human", url="https://shop.example/a", link=1)
    reply = AttemptRecord("primary", "rcpt", 550, "5.1.1", f"no such user {EVIL}", 10)
    hard = {"kind": "hard", "category": "user_unknown", "suppress": True}
    scene.file("gone@example.com", status=Status.BOUNCED, attempt=reply, outcome=hard)
    suppressed = scene.file("gone@example.com", status=Status.SUPPRESSED, outcome={"category": "suppressed"})
    later = {"kind": "soft", "category": "greylisted", "next_attempt_at": now + timedelta(hours=1)}
    busy = AttemptRecord("primary", "rcpt", 451, "4.7.1", "not now", 10)
    waiting = scene.file("late@example.com", status=Status.DEFERRED, attempt=busy, outcome=later)
    down = ReportedState("primary", now - timedelta(minutes=12), "connection refused", 0, 0, 1)
    scene.write(lambda connection: upstream_states.report_states(connection, "w", [down], now))
    scene.write(lambda connection: api_keys.create_key(connection, "billing", now, ["read"]))
    return Mails(opened, waiting, suppressed)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:  # Any: Playwright may be missing
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def session(chromium: Any, scene: Scene, mails: Mails) -> Any:  # Any: as above
    """Cookies of somebody who signed in through the form."""
    context = chromium.new_context(base_url=scene.console)
    page = context.new_page()
    page.goto("/messages?q=weekly")
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{scene.console}/messages?q=weekly")
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def page(chromium: Any, scene: Scene, session: Any) -> Iterator[Any]:  # Any: as above
    context = chromium.new_context(base_url=scene.console, storage_state=session)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    title = page.title()
    context.close()
    assert [one for one in said if BLOCKED not in one] == [] and title != "owned"


def test_mail_is_searched_and_opened(page: Any, mails: Mails) -> None:
    page.goto("/")
    page.keyboard.press("/")
    page.wait_for_url("**/messages*")
    page.get_by_role("searchbox").fill("to:ann@example.com")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Offers").first.click()
    page.wait_for_url(f"**/messages/{mails.opened}?recipient=*")
    assert page.get_by_role("heading", level=1).inner_text() == f"Offers {EVIL}"
    page.get_by_role("link", name="View as recipient").click()
    assert page.frame_locator("iframe.mail").get_by_role("heading", name="Offers").inner_text() == "Offers"


def test_clicks_are_drawn_over_the_mail(page: Any, mails: Mails) -> None:
    page.goto(f"/messages/{mails.opened}")
    page.get_by_role("link", name="Clicks over the mail").click()
    link = page.frame_locator("iframe.mail").get_by_role("link", name="Read")
    assert link.inner_text().split() == ["1:", "1", "Read"] and link.get_attribute("data-waypost-heat") == "4"
    mark, words = (one.bounding_box() for one in (link.locator("b"), link))
    assert mark["height"] > 10 and mark["y"] < words["y"] and words["height"] < 40  # it takes no room in the line


def test_a_mail_that_came_back_later_is_explained_within_two_clicks(page: Any, scene: Scene) -> None:
    message = scene.file("back@later.example", subject="Came back")
    reply = AttemptRecord("", "report", 550, "5.2.1", "mailbox disabled since Monday", 0)
    report = LateReport(
        ids.new(), EventType.BOUNCED, datetime.now(UTC), message, 0, reply, kind="hard", category="mailbox_disabled"
    )
    assert scene.write(lambda connection: late_reports.apply_report(connection, report))
    page.goto("/messages")
    page.get_by_role("searchbox").fill("back@later.example")
    page.keyboard.press("Enter")
    page.locator("table.messages tbody tr", has_text="bounced").get_by_role("link", name="Came back").click()  # one
    delivery = page.locator("article.delivery")
    delivery.get_by_text("mailbox disabled since Monday").wait_for()
    said = delivery.inner_text()
    assert "Came back" in said and "delivered" in said and "bounced" in said  # when each, and what it means:
    assert len(delivery.locator(".meaning").inner_text()) > 40 and delivery.locator(".meaning b").inner_text()
    timeline = page.locator(".timeline").inner_text()
    assert timeline.index("Delivered") < timeline.index("Bounced")


def test_the_keys_move_through_a_list_and_explain_themselves(page: Any, mails: Mails) -> None:
    page.goto("/messages")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    first = page.locator("table.messages tbody a").first
    assert first.evaluate("link => link === document.activeElement")
    page.keyboard.press("?")
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")
    assert not page.get_by_role("dialog").is_visible()
    page.keyboard.press("/")
    page.keyboard.type("j/?")  # in a field they are letters
    assert page.get_by_role("searchbox").input_value() == "j/?"


def test_a_suppression_is_undone_from_the_message_that_it_held_back(page: Any, scene: Scene, mails: Mails) -> None:
    page.goto(f"/messages/{mails.suppressed}")
    assert "550 5.1.1 no such user" in page.locator(".suppressed-why").inner_text()
    page.get_by_role("link", name="Allow again").click()
    page.get_by_role("button", name="Remove it").click()
    page.wait_for_url(f"**/messages/{mails.suppressed}")
    page.get_by_role("status").filter(has_text="may get mail again").wait_for()
    assert not scene.read(lambda connection: suppressions.list_suppressions(connection, 1, "gone@example.com"))


def test_a_delivery_is_attempted_now_from_the_queue(page: Any, scene: Scene, mails: Mails) -> None:
    page.goto("/queue")
    page.get_by_label("Choose the delivery to late@example.com").check()
    page.get_by_role("button", name="Attempt now").click()
    page.get_by_role("status").filter(has_text="attempted now").wait_for()
    assert scene.delivery(mails.waiting)["next_attempt_at"] <= datetime.now(UTC)


def test_who_comes_from_the_provider_reads_and_signs_out(chromium: Any, scene: Scene, provider: OidcProvider) -> None:
    provider.user = {"sub": "u-1", "email": "carol@example.com", "email_verified": True}
    context = chromium.new_context(base_url=scene.console, viewport={"width": 390, "height": 900})
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto("/queue")
    assert axe_playwright.Axe().run(page).violations_count == 0
    page.get_by_role("link", name="Sign in with Example").click()
    page.get_by_role("link", name="carol@example.com").wait_for()
    assert page.url == f"{scene.console}/queue"
    assert page.get_by_role("button", name="Attempt all that wait").count() == 0
    page.goto("/settings")
    assert "carol@example.com is a viewer. This needs an admin." in page.locator("main").inner_text()
    assert axe_playwright.Axe().run(page).violations_count == 0
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("link", name="Sign out there too").wait_for()
    context.close()
    assert [one for one in said if "403" not in one] == []


def test_the_list_of_messages_follows_what_happens_and_can_be_paused(page: Any, scene: Scene, mails: Mails) -> None:
    page.goto("/messages?q=subject:arrives")  # a filter holds for what arrives, too
    scene.file(subject="arrives first")
    page.goto("/messages?q=subject:arrives")
    page.get_by_label("Choose arrives first").check()
    scene.file(subject="arrives second")
    scene.file(subject="something else")
    page.get_by_role("link", name="arrives second").wait_for()
    sync_api.expect(page.locator("table.messages tbody tr")).to_have_count(2)
    assert page.get_by_label("Choose arrives first").is_checked()
    page.get_by_role("button", name="Pause").click()
    scene.file(subject="arrives third")
    assert page.get_by_text("Paused").is_visible()
    page.get_by_role("button", name="Go on").click()
    scene.file(subject="arrives fourth")
    page.get_by_role("link", name="arrives third").wait_for()
    page.get_by_role("link", name="arrives fourth").wait_for()
    page.get_by_label("All on this page").check()
    sync_api.expect(page.locator("table.messages td.pick input:checked")).to_have_count(4)


def test_times_are_the_readers(chromium: Any, scene: Scene, session: Any, mails: Mails) -> None:
    context = chromium.new_context(base_url=scene.console, storage_state=session, timezone_id="Asia/Tokyo")
    page = context.new_page()
    page.goto(f"/messages/{mails.opened}")
    shown = page.locator(".timeline time").first
    at = datetime.fromisoformat(str(shown.get_attribute("datetime")))
    assert shown.inner_text() == (at + timedelta(hours=9)).strftime("%H:%M:%S")
    assert str(shown.get_attribute("title")).endswith(at.strftime("%H:%M:%S UTC"))
    assert "Asia/Tokyo" in page.locator(".timeline h2").inner_text()
    assert page.locator(".daymark").first.inner_text() == (at + timedelta(hours=9)).strftime("%d %B %Y")
    context.close()


def test_every_page_fits_and_axe_finds_nothing(chromium: Any, scene: Scene, session: Any, mails: Mails) -> None:
    context = chromium.new_context(base_url=scene.console, storage_state=session)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    axe, axe_again = axe_playwright.Axe(), axe_playwright.Axe("0")  # the page has it then: it is half a megabyte
    one = f"/mailbox/{mails.opened}/0"
    paths = ["/", "/messages", f"/messages/{mails.opened}", f"/messages/{mails.suppressed}", "/queue", "/bounces"]
    paths += ["/links", "/suppressions", "/suppressions/import", "/mailbox", one, f"{one}?view=changes"]
    paths += [f"{one}?view=clicks", f"{one}?width=phone", "/pixels", "/webhooks", "/upstreams", "/settings"]
    paths += ["/sessions", "/settings/checks", "/settings/audit", "/settings/audit?from=never", "/no/such/page"]
    for path in paths:
        page.goto(path)
        for width, scheme in ((1280, "light"), (390, "dark")):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme)
            overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert overflow <= 0, (path, width)
            found = (axe if width == 1280 else axe_again).run(
                page, options={"iframes": False, "resultTypes": ["violations"]}
            )
            assert found.violations_count == 0, f"{path}, {scheme}: {found.generate_report()}"
    context.close()
    assert any(BLOCKED in one for one in said)  # nothing of the mail is fetched from elsewhere
    assert [one for one in said if BLOCKED not in one and "404" not in one] == []  # that of the last page
