"""The mailbox: mail shown as its recipient sees it, and kept from doing harm."""

import html
import re
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.rewrite import plan
from relay.store.database.tables import Status
from relay.store.views import message_list, message_search
from tests import processor_time
from tests.waiting import until
from tests.web.scene import MAIL, Scene
from web import mail_view

PICTURE = b"\x89PNG\r\n\x1a\nnot really"


def sample_mail() -> bytes:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "Ann Ö <ann@example.com>", "you@example.com", "Grüße"
    mail["List-Unsubscribe"] = "<https://links.example/u/x>"
    mail.set_content("plain words")
    mail.add_alternative(
        '<!doctype html><html><head></head><body><p>rich words</p><img src="cid:pic@x"><img src="cid:none@x">'
        "<script>parent.document.title='owned'</script></body></html>",
        subtype="html",
    )
    [_, rich] = mail.iter_parts()
    assert isinstance(rich, EmailMessage)
    rich.add_related(PICTURE, "image", "png", cid="<pic@x>")
    mail.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="bill.pdf")
    return bytes(mail)


def test_an_attachment_is_downloaded_as_a_file_and_never_shown(scene: Scene, browser: httpx.Client) -> None:
    mail = EmailMessage()
    mail["Subject"] = "With files"
    mail.set_content("see the files")
    evil = '../"a"\r\nx: y\u202e.html'
    mail.add_attachment(b"%PDF-1.4 of mine", maintype="application", subtype="pdf", filename="bill.pdf")
    mail.add_attachment(b"<script>x</script>", maintype="text", subtype="html", filename="page.html")
    message = scene.file(octets=bytes(mail).replace(b"page.html", evil.encode()))
    page = browser.get(f"/mailbox/{message}/0").text
    links = re.findall(r'class="attachment" href="([^"]+)"', page)
    assert len(links) == 2
    first, second = (browser.get(link) for link in links)
    assert first.content == b"%PDF-1.4 of mine"
    assert 'attachment; filename="bill.pdf"' in first.headers["content-disposition"]
    for answer in (first, second):
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("sandbox;")
        assert "/" not in answer.headers["content-disposition"].split(";")[1] and "x" not in answer.headers
    assert browser.get(f"/mailbox/{message}/0/part/99").status_code == 404


def test_the_frame_s_policy_gives_the_mail_an_origin_of_its_own(scene: Scene, browser: httpx.Client) -> None:
    message = scene.file(octets=sample_mail())
    page = browser.get(f"/mailbox/{message}/0").text
    assert (
        f'<iframe class="mail" src="/mailbox/{message}/0/html" sandbox="allow-popups allow-popups-to-escape-sandbox"'
        in page
    )
    assert "owned" not in page
    framed = browser.get(f"/mailbox/{message}/0/html")
    policy = framed.headers["content-security-policy"].split("; ")
    assert policy[0] == "sandbox allow-popups allow-popups-to-escape-sandbox"
    assert "default-src 'none'" in policy and "frame-ancestors 'self'" in policy
    assert not any(rule.startswith("script-src") for rule in policy)
    assert '<head><base target="_blank">' in framed.text
    assert "data:image/png;base64," in framed.text and "cid:none@x" in framed.text
    assert framed.headers["x-content-type-options"] == "nosniff"


def test_each_view_shows_its_part(scene: Scene, browser: httpx.Client) -> None:
    message = scene.file(octets=sample_mail())
    here = f"/mailbox/{message}/0"
    assert "bill.pdf" in browser.get(here).text
    assert "https://links.example/u/x" in browser.get(here).text
    assert "plain words" in browser.get(f"{here}?view=text").text
    assert "Ann Ö" in browser.get(f"{here}?view=headers").text
    assert "Content-Transfer-Encoding" in browser.get(f"{here}?view=source").text
    assert browser.get(f"{here}?view=nonsense").status_code == 200


def test_octets_are_downloaded_as_they_were(scene: Scene, browser: httpx.Client) -> None:
    octets = sample_mail()
    message = scene.file(octets=octets)
    for name in ("sent", "received"):
        answer = browser.get(f"/mailbox/{message}/0/{name}.eml")
        assert answer.content == octets
        assert answer.headers["content-type"] == "message/rfc822"
        assert answer.headers["content-disposition"].startswith("attachment;")
        assert answer.headers["content-security-policy"].startswith("sandbox;")


def test_the_mail_is_shown_with_its_pixel_and_links_at_work(scene: Scene, browser: httpx.Client) -> None:
    octets = (
        b"From: app@example.com\r\nTo: you@example.com\r\nSubject: Hi\r\nDate: Sat, 21 Nov 2026 08:00:00 +0000\r\n"
        b"Message-ID: <1@example.com>\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
        b'<html><body><a href="https://shop.example/?a=1&amp;b=2">Shop</a></body></html>\r\n'
    )
    made = plan.plan(octets, plan.Settings(scene.tracking, stream="news"))
    message = scene.file(octets=octets, plan=made.to_json(), links=[link._asdict() for link in made.links])
    here = f"/mailbox/{message}/0"
    framed = browser.get(f"{here}/html").text
    pixel, click = (re.search(rf"{scene.tracking}(/{kind}/[^\"]+)", framed) for kind in "oc")
    assert pixel and click
    assert scene.http.get(pixel[1]).status_code == 200
    assert scene.http.get(click[1]).headers["location"] == "https://shop.example/?a=1&b=2"
    until(lambda: len(scene.events(message)) == 2)
    assert f"&lt;{scene.tracking}/u/" in browser.get(f"{here}?view=headers").text
    changes = browser.get(f"{here}?view=changes").text
    assert click[1] in changes and "https://shop.example/?a=1&amp;amp;b=2" in changes
    columns = r'As it came</h3><pre class="old">([^<]*)</pre>.*?As it was sent</h3><pre class="new">([^<]*)</pre>'
    sides = re.search(columns + r'.*?<p class="fine">tracked</p>', changes, re.DOTALL)
    assert sides and "https://shop.example/" in sides[1] and click[1] in sides[2]
    assert 'class="mail is-phone"' in browser.get(f"{here}?width=phone").text
    assert 'class="mail"' in browser.get(f"{here}?width=%22x").text
    assert browser.get(f"{here}/received.eml").content == octets
    assert click[1].encode() in browser.get(f"{here}/sent.eml").content
    story = browser.get(f"/messages/{message}").text
    assert "1 of 1 tracked" in story and "Opened" in story and "Clicked" in story


def test_what_is_not_there_is_not_found(scene: Scene, browser: httpx.Client) -> None:
    message = scene.file(octets=None)
    for path in (f"/mailbox/{message}/0", "/mailbox/nothing/0", f"/mailbox/{message}/99999999999999999999"):
        for rest in ("", "/html", "/sent.eml"):
            assert browser.get(path + rest).status_code == 404
    assert browser.get(f"/messages/{message}").status_code == 200
    assert browser.get(f"/mailbox/{scene.file()}/7").status_code == 404


def test_the_list_has_delivered_mail_only_and_pages_by_recipient(scene: Scene, browser: httpx.Client) -> None:
    scene.file("bounced@list.example", status=Status.BOUNCED)
    message = scene.file(*(f"r{n}@list.example" for n in range(60)), subject="To many")
    page = browser.get("/mailbox?q=list.example")
    assert page.text.count("To many") == 50
    assert "bounced@list.example" not in page.text
    older = browser.get(f"/mailbox?q=list.example&before={message}.49")
    assert older.text.count("To many") == 10 and "r59@list.example" in older.text
    assert browser.get("/mailbox?before=x.y").status_code == 200


@pytest.mark.parametrize("path", ["/mailbox", "/messages"])
def test_a_page_that_looked_at_so_much_leads_to_the_rest(
    path: str, scene: Scene, browser: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_list, "MAX_MAILBOX_SCANNED", 2)
    monkeypatch.setattr(message_search, "MAX_SCANNED", 2)
    monkeypatch.setattr(message_search, "_MAX_TEXTS", 2)
    scene.file("first@further.example", "second@further.example", subject="Xylography")
    for _ in range(5):
        scene.file("ann@example.com")
    page, steps = browser.get(f"{path}?q=ylograph"), 0
    while further := re.search(r'href="([^"]+)">Look further back', page.text):
        page, steps = browser.get(html.unescape(further[1])), steps + 1
        assert steps < 20
    assert steps and "Xylography" in page.text


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\r\n",
        b"Subject: =?utf-8?b?!!!?=\r\nFrom: \xff\xfe\r\nContent-Type: text/html; charset=nonsense\r\n\r\n\xff<p>",
        b'Content-Type: multipart/mixed; boundary="a"\r\n\r\n--a\r\nContent-Type: text/html\r\n\r\n<p>cut off',
        b"Content-Type: multipart/mixed\r\n\r\nno boundary",
        b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nx",
        b"Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n%%%%",
        b"Content-Type: text/plain; name*=utf-8''%zz; charset=\"\r\n\r\nx",
        b"Subject: =?x?q?a?=\r\nContent-Disposition: attachment; filename==?utf-8?b?x?=\r\n\r\nx",
        b"Content-Type: text/plain; charset=idna\r\n\r\n" + b"\xc3\xa9." * 100,
    ],
)
def test_whatever_the_mail_it_can_be_looked_at(scene: Scene, browser: httpx.Client, octets: bytes) -> None:
    mail_view.view_mail(octets)
    message = scene.file(octets=octets)
    for rest in ("", "?view=text", "?view=headers", "?view=source", "?view=changes", "/html"):
        assert browser.get(f"/mailbox/{message}/0{rest}").status_code == 200


def nested(depth: int) -> bytes:
    """A message in a message in a message …"""
    return b"Content-Type: message/rfc822\r\n\r\n" * depth + b"Subject: inmost\r\n\r\nhello"


def multiparts(depth: int) -> bytes:
    heads = [f"Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n" for n in range(depth)]
    return "".join(heads).encode() + b"Content-Type: text/html\r\n\r\n<p>inmost"


@pytest.mark.parametrize(
    "octets",
    [
        nested(1500),
        multiparts(1500),
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + b"--b\r\n\r\nx\r\n" * 20_000,
        b"Content-Type: text/html; charset=punycode\r\n\r\na-" + b"kb2a" * 100_000,
        b"Subject: =?punycode?q?a-" + b"kb2a" * 100_000 + b"?=\r\n\r\nx",
        b"Subject: " + b"=?punycode?q?a-kb2akb2a?= " * 10_000 + b"\r\n\r\nx",
        b"Content-Type: text/html\r\n\r\n" + b"<head " * 200_000,
        b"Content-Type: text/html\r\n\r\n" + b"src = " + b" " * 500_000 + b"url(" * 100_000,
        b"".join(b"X-%d: =?utf-8?q?a?=\r\n" % n for n in range(20_000)) + b"\r\nx",
    ],
    ids=["messages", "multiparts", "parts", "charset", "word", "words", "heads", "sources", "fields"],
)
def test_what_is_made_to_be_slow_can_be_looked_at(scene: Scene, browser: httpx.Client, octets: bytes) -> None:
    message = scene.file(octets=octets)
    with processor_time.at_most(10, of_process=True):  # with the server's; by the square it is minutes
        for rest in ("", "?view=text", "?view=headers", "/html"):
            assert browser.get(f"/mailbox/{message}/0{rest}").status_code == 200


def test_a_text_of_megabytes_is_cut_and_says_so(scene: Scene, browser: httpx.Client) -> None:
    octets = b"Content-Type: text/html\r\n\r\n<p>begin " + b"word " * 600_000 + b"the end"
    message = scene.file(octets=octets)
    framed = browser.get(f"/mailbox/{message}/0/html")
    assert "begin" in framed.text and "the end" not in framed.text and len(framed.content) < 1_100_000
    assert "Only the first part is shown" in browser.get(f"/mailbox/{message}/0").text
    assert browser.get(f"/mailbox/{message}/0/sent.eml").content == octets
    assert "Only the first part" not in browser.get(f"/mailbox/{scene.file(octets=sample_mail())}/0").text


PICTURES = b'Content-Type: text/html\r\n\r\n<p>See <img src="https://elsewhere.example/p.png"></p>'


def pictures_from(answer: httpx.Response) -> str:
    """Whose pictures a browser may load in the frame."""
    found = re.search(r"img-src ([^;]*);", answer.headers["content-security-policy"])
    assert found
    return found[1].strip()


def test_what_lies_elsewhere_loads_only_when_the_switch_is_used(tmp_path: Path) -> None:
    upstream: dict[str, Any] = {"upstream": [{"address": "127.0.0.1:9"}]}
    with Scene(tmp_path, upstream) as scene, scene.sign_in() as browser:
        here = f"/mailbox/{scene.file(octets=PICTURES)}/0"
        closed = browser.get(f"{here}/html")
        assert pictures_from(closed) == "data:"
        for kind in ("style-src", "font-src", "media-src"):
            assert not re.search(rf"{kind} [^;]*http", closed.headers["content-security-policy"])
        page = browser.get(here).text
        assert f'src="{here}/html"' in page and f'href="{here}?view=html&amp;remote=yes"' in page
        page = browser.get(f"{here}?view=html&remote=yes").text
        assert f'src="{here}/html?remote=yes"' in page
        assert pictures_from(browser.get(f"{here}/html?remote=yes")) == "data: http: https:"
        plain = f"/mailbox/{scene.file(octets=sample_mail())}/0"
        assert "remote=yes" not in browser.get(plain).text


def test_in_a_sandbox_the_pixel_loads_and_nobody_else_s_pictures(scene: Scene, browser: httpx.Client) -> None:
    message = scene.file(octets=PICTURES)
    assert pictures_from(browser.get(f"/mailbox/{message}/0/html")) == f"data: {scene.tracking}"


_WORDS = [
    *(b"\r\n", b"\r\n\r\n", b"Subject: ", b"Content-Type: ", b"multipart/mixed; boundary=x", b"message/rfc822"),
    *(b"text/html", b"text/plain", b"; charset=", b"utf-7", b"utf-16", b"hex", b"--x", b"--x--", b"image/png"),
    *(b"Content-Transfer-Encoding: ", b"base64", b"quoted-printable", b"uuencode", b"begin 666 a", b"=?utf-8?"),
    *(b"q?", b"b?", b"?=", b"Content-ID: <a>", b"cid:a", b"Content-Disposition: attachment; filename*="),
    *(b"utf-8''%ff", b"=zz", b" ", b"\t", b'"', b"a", b"\xff", b"\x00", b"\xe2\x82"),
]


@given(st.lists(st.sampled_from(_WORDS), max_size=40).map(b"".join))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_no_octets_make_reading_fail(octets: bytes) -> None:
    mail = mail_view.view_mail(octets)
    mail_view.add_link_target(mail.html).encode()
    "".join((mail.text, *(part.name for part in mail.attachments), *map("".join, mail.fields))).encode()


def test_links_open_in_a_new_tab_and_the_doctype_stays_first() -> None:
    base = '<base target="_blank">'
    assert mail_view.add_link_target("<p>x") == base + "<p>x"
    assert mail_view.add_link_target("<!DOCTYPE html><p>x") == f"<!DOCTYPE html>{base}<p>x"
    assert mail_view.add_link_target("<html><HEAD class=a><title>") == f"<html><HEAD class=a>{base}<title>"
    assert mail_view.add_link_target("<header>x") == base + "<header>x"


def test_a_plain_mail_has_no_html_view(scene: Scene, browser: httpx.Client) -> None:
    page = browser.get(f"/mailbox/{scene.file(octets=MAIL)}/0").text
    assert "<iframe" not in page and "Hello." in page
