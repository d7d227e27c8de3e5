"""Mail that must be handled: each golden mail through SMTP and through `waypost instrument`."""

import json
import re
from email import message_from_bytes
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import pytest

from relay import tokens
from relay.edits import Kind
from tests import cases
from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost

_TRACKED = re.compile(rb"http://127\.0\.0\.1:\d+/([ocu])/([A-Za-z0-9_-]+)(\.gif)?")


def _html(octets: bytes) -> bytes:
    """All HTML of a mail, decoded, in order."""
    parts = [part for part in message_from_bytes(octets).walk() if part.get_content_type() == "text/html"]
    pages = [part.get_payload(decode=True) for part in parts]
    return b"\n".join(page for page in pages if isinstance(page, bytes))


def _ascii(url: str) -> str:
    parts = urlsplit(url)
    safe = "%/:=&?~#+!$,;'@()*[]\""
    return urlunsplit(parts._replace(path=quote(parts.path, safe=safe), query=quote(parts.query, safe=safe)))


def _check(expected: dict[str, Any], original: bytes, arrived: bytes, ring: tokens.KeyRing) -> None:
    if expected["untouched"] or (expected.get("either") and arrived.endswith(original)):
        assert arrived.endswith(original)
        assert b"/o/" not in arrived and b"/c/" not in arrived
        return
    html = _html(arrived)
    found = [(hit[1].decode(), hit[2].decode()) for hit in _TRACKED.finditer(html)]
    clicks = [ring.read_token(Kind.CLICK, token).url.decode() for kind, token in found if kind == "c"]
    wanted = [_ascii(url) for url in expected["links"]]
    may = {_ascii(url) for url in expected.get("may_track", [])}
    assert [url for url in clicks if url in wanted or url not in may][-len(wanted) :] == wanted
    assert set(clicks) <= set(wanted) | may
    if expected["pixel"] is not None:
        assert sum(kind == "o" for kind, _ in found) == expected["pixel"]
    if limit := expected.get("max_line"):
        assert max(map(len, arrived.split(b"\r\n"))) <= limit


@pytest.mark.parametrize("path", cases.ALL, ids=lambda path: path.stem)
def test_through_the_smtp_door(path: Path, relay: Waypost, upstream: ScriptedUpstream) -> None:
    original = path.read_bytes()
    recipient = f"{path.stem}@larkhollow.example"
    assert relay.send(original, recipient, sender="orla@bramblecart.example").startswith("250")
    [arrival] = upstream.to(recipient)
    # SMTP has lines only: a message that ends without CRLF gains one.
    original += b"" if original.endswith(b"\r\n") else b"\r\n"
    ring = tokens.open_key_ring(relay.folder / "data" / "keys.json")
    _check(json.loads(path.with_suffix(".expect.json").read_text()), original, arrival.octets, ring)


def test_why_mail_passes_as_it_came_stands_with_its_event(relay: Waypost) -> None:
    [signed] = [path.read_bytes() for path in cases.ALL if path.stem == "smime_signed"]
    relay.send(signed, "reasons@larkhollow.example")
    [message] = relay.rows("messages", "--query", "reasons@larkhollow.example")
    [accepted] = [row for row in relay.rows("events", "--limit", "10000") if row["id"] == message["id"]]
    assert accepted["reasons"] == message["reasons"] == ["signed"]


@pytest.mark.parametrize("path", cases.ALL, ids=lambda path: path.stem)
def test_through_instrument(path: Path, relay: Waypost, tmp_path: Path) -> None:
    original = path.read_bytes()
    out = relay.cli("instrument", str(path), "--to", "fenn@larkhollow.example", "--report", str(tmp_path / "report"))
    report = json.loads((tmp_path / "report").read_text())
    expected = json.loads(path.with_suffix(".expect.json").read_text())
    ring = tokens.open_key_ring(relay.folder / "data" / "keys.json")
    _check(expected, original, out, ring)

    made, at = b"", 0
    for edit in report["edits"]:
        made += original[at : edit["start"]] + edit["new"].encode("latin-1")
        at = edit["end"]
        assert original[edit["start"] : edit["end"]] == edit["old"].encode("latin-1")
    assert made + original[at:] == out
    tracked = [link["url"] for link in report["links"] if link["decision"] == "tracked"]
    if not (expected.get("either") and report["untouched"]):
        assert report["untouched"] == expected["untouched"]
        assert [url for url in tracked if url in expected["links"]][
            -len(expected["links"]) or len(tracked) :
        ] == expected["links"]
        assert set(tracked) <= set(expected["links"]) | set(expected.get("may_track", []))
    assert all(link["decision"] == "tracked" or link["reason"] for link in report["links"])


@pytest.mark.parametrize(
    ("author", "options", "has_field"),
    [
        ("Ann <ann@sender.test>", (), True),
        ("Ann <ann@sender.test>, ben@sender.test", (), True),
        ("Ann <ann@sender.test>", ("--from", "<>"), False),
        ("undisclosed", ("--from", "app@sender.test"), True),
        ("undisclosed", (), False),
    ],
)
def test_instrument_sends_as_the_author_unless_another_reverse_path_is_given(
    relay: Waypost, author: str, options: tuple[str, ...], has_field: bool, tmp_path: Path
) -> None:
    mail = f"From: {author}\r\nTo: fenn@larkhollow.example\r\nSubject: x\r\n\r\nHello.\r\n".encode()
    report = ("--report", str(tmp_path / "report.json"))
    out = relay.cli("instrument", "-", "--to", "fenn@larkhollow.example", *options, *report, stdin=mail)
    assert (b"\r\nList-Unsubscribe:" in b"\r\n" + out) is has_field
    reasons = json.loads((tmp_path / "report.json").read_text())["reasons"]
    assert ("unsubscribe_needs_sender" in reasons) is not has_field
