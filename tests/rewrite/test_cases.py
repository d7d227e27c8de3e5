"""The mail that must be handled, case by case, and what holds for each of them.

Outside the edits every octet is the original's. The DOM is the same but for hrefs and the pixel, and each
click URL leads where its href led.
"""

import email
import email.message
import json
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import html5lib
import pytest

from relay.rewrite import link_url, plan
from tests import cases
from tests.rewrite.mails import PUBLIC_URL, SETTINGS, mint, tracked, undone
from tests.rewrite.mails import destination as leads_to


class Case(NamedTuple):
    octets: bytes
    expected: dict[str, Any]  # as its JSON has it
    plan: plan.Plan
    result: bytes


@pytest.fixture(params=cases.ALL, ids=lambda path: path.stem)
def case(request: pytest.FixtureRequest) -> Case:
    path: Path = request.param
    octets = path.read_bytes()
    expected = json.loads(path.with_suffix(".expect.json").read_text("utf-8"))
    made = plan.plan(octets, SETTINGS)
    return Case(octets, expected, made, made.render(octets, mint))


def test_the_expected_links_are_tracked_in_order_and_no_others(case: Case) -> None:
    if case.expected.get("either") and case.plan.is_untouched:
        assert tracked(case.plan) == []
        return
    wanted, allowed = list(case.expected["links"]), case.expected.get("may_track", [])
    for url in tracked(case.plan):
        if wanted and url == wanted[0]:
            wanted.pop(0)
        else:
            assert url in allowed
    assert wanted == []


def test_untouched_mail_ends_with_exactly_what_came(case: Case) -> None:
    if not case.expected.get("either"):
        assert case.plan.is_untouched is case.expected["untouched"]
    if case.plan.is_untouched:
        assert case.result.endswith(case.octets)
        assert case.plan.reasons


def test_it_has_as_many_pixels_as_it_should(case: Case) -> None:
    shown = sum(b"/o/" in text and PUBLIC_URL.encode() in text for text in _texts(case.result))
    assert shown == case.plan.pixels
    if case.expected["pixel"] is not None and not (case.expected.get("either") and case.plan.is_untouched):
        assert case.plan.pixels == case.expected["pixel"]


def test_undoing_the_edits_gives_what_came(case: Case) -> None:
    assert undone(case.octets, case.plan.edits(case.octets, mint), case.result) == case.octets


def test_no_line_is_too_long(case: Case) -> None:
    before = max(len(line) for line in case.octets.split(b"\r\n"))
    limit = case.expected.get("max_line", 76 if b"quoted-printable" in case.octets else 998)
    # A neighbour in another encoding, or a header, may be longer than quoted-printable lines ever are.
    assert max(len(line) for line in case.result.split(b"\r\n")) <= max(before, limit, 200)
    if b"Content-Transfer-Encoding: quoted-printable" in case.octets:
        body = case.result.rpartition(b"quoted-printable")[2]
        assert max(len(line) for line in body.split(b"\r\n")) <= 76


def test_the_document_is_the_same_and_every_link_leads_where_it_led(case: Case) -> None:
    for before, after in zip(_texts(case.octets), _texts(case.result), strict=True):
        _compare(_document(before), _document(after))


def test_a_plan_survives_being_kept_as_text(case: Case) -> None:
    again = plan.Plan.from_json(case.plan.to_json())
    assert again == case.plan
    assert again.render(case.octets, mint) == case.result
    assert again.render(case.octets, mint, tracked=False) == case.plan.render(case.octets, mint, tracked=False)


def test_who_is_not_tracked_gets_no_pixel_and_no_click_links(case: Case) -> None:
    result = case.plan.render(case.octets, mint, tracked=False)
    assert all(_document(a) == _document(b) for a, b in zip(_texts(case.octets), _texts(result), strict=True))
    assert PUBLIC_URL.encode() not in b"".join(_texts(result))
    if not case.plan.control.stream and b"List-Unsubscribe:" not in case.octets:
        assert result.startswith(b"List-Unsubscribe:")


def _texts(octets: bytes) -> list[bytes]:
    """The decoded HTML leaves."""
    message = email.message_from_bytes(octets)
    leaves = (part for part in message.walk() if part.get_content_type() == "text/html")
    return [payload for part in leaves if isinstance(payload := part.get_payload(decode=True), bytes)]


def _document(html: bytes) -> list[tuple[str, dict[str, str], str]]:
    """The document as a flat list of elements with their attributes and the text that follows."""
    root = html5lib.parse(html.decode("latin-1"), treebuilder="etree", namespaceHTMLElements=False)
    flat: list[tuple[str, dict[str, str], str]] = []
    _flatten(root, flat)
    return flat


def _flatten(element: ElementTree.Element, flat: list[tuple[str, dict[str, str], str]]) -> None:
    is_pixel = element.tag == "img" and f"{PUBLIC_URL}/o/" in element.get("src", "")
    if is_pixel:
        name, attributes, text = flat[-1]
        flat[-1] = (name, attributes, text + (element.tail or ""))
        return
    name = element.tag if isinstance(element.tag, str) else "comment"
    flat.append((name, dict(element.attrib), element.text or ""))
    for child in element:
        _flatten(child, flat)
    flat.append((f"/{name}", {}, element.tail or ""))


def _compare(before: list[tuple[str, dict[str, str], str]], after: list[tuple[str, dict[str, str], str]]) -> None:
    assert [name for name, _, _ in before] == [name for name, _, _ in after]
    for (name, old, old_text), (_, new, new_text) in zip(before, after, strict=True):
        if f"{PUBLIC_URL}/c/" in new.get("href", ""):
            target = link_url.to_location(link_url.trim_url(old.pop("href")), "utf-8")
            assert target is not None or not old["href"].isascii()
            if target and b"%C3%83" not in target:  # `_document` reads Latin-1, so it cannot know UTF-8's URL
                assert leads_to(new.pop("href")) == target.decode()
            new.pop("href", None)
        assert old == new
        if name != "comment":
            assert old_text == new_text
