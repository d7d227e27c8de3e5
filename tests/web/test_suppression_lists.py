"""Many suppressions at once in the console: exported, imported, removed and brought back."""

import csv
import html
import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest

from relay.store.recipients import suppressions
from relay.store.recipients.suppressions import SuppressionEntry
from tests.web.scene import Scene, csrf

EVIL = '=cmd|"<script>alert(1)</script>"'


@pytest.fixture(scope="module")
def browser(scene: Scene) -> Iterator[httpx.Client]:
    now = datetime.now(UTC)
    entries = [
        SuppressionEntry("gone@example.com", "all", "", "hard_bounce", f"550 5.1.1 {EVIL}", now, None),
        SuppressionEntry("left@example.com", "stream", "news", "unsubscribe", "", now, None),
        SuppressionEntry("other@example.com", "stream", "digest", "unsubscribe", "", now, None),
    ]
    scene.write(lambda connection: suppressions.add_suppressions(connection, entries))
    with scene.sign_in() as client:
        yield client


def addresses(browser: httpx.Client, query: str = "") -> set[str]:
    return set(re.findall(r'<span class="address">([^<]+)<', browser.get(f"/suppressions?{query}").text))


def post(browser: httpx.Client, path: str, **form: str | list[str]) -> str:
    answer = browser.post(path, data={"csrf": csrf(browser.get("/settings"))} | form)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_they_are_filtered_and_exported_by_reason_and_stream(browser: httpx.Client) -> None:
    assert addresses(browser, "stream=news") == {"left@example.com"}
    assert addresses(browser, "reason=unsubscribe") >= {"left@example.com", "other@example.com"}
    answer = browser.get("/suppressions.csv?reason=unsubscribe&stream=digest")
    assert answer.headers["content-disposition"] == 'attachment; filename="suppressions.csv"'
    assert [row["address"] for row in csv.DictReader(io.StringIO(answer.text))] == ["other@example.com"]
    assert {"gone@example.com", "left@example.com"} <= {
        row["address"] for row in csv.DictReader(io.StringIO(browser.get("/suppressions.csv").text))
    }


def test_pasted_addresses_are_imported_and_faults_are_named(browser: httpx.Client) -> None:
    said = post(browser, "/suppressions/import", csv=f"new@example.com\nno address {EVIL}\n", reason="complaint")
    assert "1 added, 0 known already, 1 not read." in said and "Line 2" in said and EVIL not in said
    assert "new@example.com" in addresses(browser, "reason=complaint")
    assert "0 added, 1 known already" in post(browser, "/suppressions/import", csv="new@example.com")
    post(browser, "/suppressions/import", csv="streamed@example.com", stream=" NEWS ")
    assert "streamed@example.com" in addresses(browser, "stream=news")


def test_what_is_ticked_is_removed_and_brought_back_as_it_was(scene: Scene, browser: httpx.Client) -> None:
    def entry() -> SuppressionEntry | None:
        rows = scene.read(lambda connection: suppressions.list_suppressions(connection, 10, "gone@example.com"))
        return SuppressionEntry(*(rows[0][name] for name in SuppressionEntry._fields)) if rows else None

    before = entry()
    page = browser.get("/suppressions").text
    ticked = re.findall(r'name="entry" value="(\d+)" aria-label="Choose (?:gone|left)@', page)
    said = post(browser, "/suppressions/remove-many", entry=ticked)
    assert "2 suppressions removed" in said and entry() is None and EVIL not in said
    undo = re.search(r'<textarea name="csv" hidden>(.*?)</textarea>', said, re.DOTALL)
    assert undo and before
    assert "2 added" in post(browser, "/suppressions/import", csv=html.unescape(undo[1]))
    assert entry() == before
    assert "0 suppressions removed" in post(browser, "/suppressions/remove-many", entry=[*ticked, "x", "9" * 30])
