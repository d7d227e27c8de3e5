"""Where there is no room for an edit, that edit is dropped and says so; all others are made.

No line over 998 octets is created (RFC 5322 §2.1.1), none over 76 in quoted-printable (RFC 2045 §6.7).
"""

import base64
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.mime import parts, transfer_encoding
from relay.rewrite import plan, verify
from tests.rewrite.mails import PUBLIC_URL, SETTINGS, make_mail, mint, skipped, tracked, undone

_LINK = b'<a href="https://a.example/">z</a>'
_MARK = b"{{waypost_unsubscribe_url}}"


def _widest(octets: bytes) -> int:
    return max(len(line) for line in octets.split(b"\r\n"))


@pytest.mark.parametrize("column", range(990, 999))
def test_a_pixel_without_room_is_left_out_and_the_links_are_not(column: int) -> None:
    octets = make_mail(_LINK + b"\r\n<p>" + b"x" * (column - 3))
    made = plan.plan(octets, SETTINGS)
    assert tracked(made) == ["https://a.example/"]
    assert made.reasons == ("no_room_for_pixel",) * (1 - made.pixels)
    assert made.pixels == (column <= 994)  # `<img` must fit
    assert _widest(made.render(octets, mint)) <= 998


def test_a_link_without_room_is_skipped_and_the_others_are_not() -> None:
    octets = make_mail(b"x" * 900 + b"<a/href='https://a.example/1'\r\n>z</a>\r\n" + _LINK)
    made = plan.plan(octets, SETTINGS)
    assert skipped(made) == ["line_too_long"]
    assert tracked(made) == ["https://a.example/"]
    assert made.pixels == 1


def test_an_unsubscribe_mark_without_room_stays_and_says_so() -> None:
    octets = make_mail(b"<p>" + b"x" * 960 + _MARK + b"\r\n" + _LINK + _MARK)
    made = plan.plan(octets, SETTINGS)
    assert made.reasons == ("no_room_for_unsubscribe",)
    assert tracked(made) == ["https://a.example/"]
    assert made.render(octets, mint).count(_MARK) == 1


def test_lines_that_were_too_long_are_edited_all_the_same() -> None:
    octets = make_mail(b"<p>" + b"x" * 3000 + _LINK + b"y" * 3000 + _LINK + _MARK)
    made = plan.plan(octets, SETTINGS)
    assert made.reasons == ()
    assert made.pixels == 1
    assert len(tracked(made)) == 2
    assert _MARK not in made.render(octets, mint)


_WORDS = b"word " * 250


@pytest.mark.parametrize(
    ("before", "after", "broken"),
    [
        (b"<p>%s", b"</p>", b" "),
        (b"<p>%s", b" and more</p>", b" "),
        (b"<p>{half}", b" {half}</p>", b" "),
        (b"<table><td>%s</td></table><p>", b"</p>", b""),
        (b"<table><td>%s</td></table><p>{two}, or ", b"</p>", b""),
        (b"<pre>%s", b"</pre>", b" "),
        (b"<p>%s<br/>", b"</p>", b""),
        (b"<p>%s<br />", b"<b title='x > y'>z</b></p>", b""),
    ],
)
def test_a_mark_in_running_text_finds_room_where_a_line_may_end(before: bytes, after: bytes, broken: bytes) -> None:
    for size in range(900, 999, 7):
        words = _WORDS[: size - len(before) - len(after) - len(_MARK)]
        half = _WORDS[: (size - len(_MARK) - 20) // 2]
        page = (before.replace(b"%s", words) + _MARK + after).replace(b"{half}", half).replace(b"{two}", _MARK)
        octets = make_mail(page + b"\r\n")
        made = plan.plan(octets, SETTINGS)
        result = made.render(octets, mint)
        assert made.reasons == () and _MARK not in result and made.pixels == 1
        assert _widest(result) <= 998
        assert undone(octets, made.edits(octets, mint), result) == octets
        ends = {octets[edit.start : edit.end] for edit in made.edits(octets, mint) if edit.new == b"\r\n"}
        assert ends <= {b"", broken}


@pytest.mark.parametrize("name", [b"script", b"style", b"textarea", b"title"])
def test_no_line_of_raw_text_is_broken_at_a_space(name: bytes) -> None:
    octets = make_mail(b"<%b>// %b %b</%b>\r\n<p>x</p>" % (name, _WORDS[:940], _MARK, name))
    made = plan.plan(octets, SETTINGS)
    assert [edit.why for edit in made.edits(octets, mint) if edit.new == b"\r\n"] == []


_PIECES = st.sampled_from(
    [
        *(_LINK, _MARK, b"<a/href='https://a.example/'>", b'<a class=x href="https://a.example/">', b"<b>\r\n</b>"),
        *(b"<a href='\r\nhttps://a.example/'\r\n>", b"\r\n", b"\r\n", b"x" * 100, b"x" * 300, b"x" * 900, b"x" * 1200),
        *(b"</body>", b"<body>", b" ", b"<p>", b"</p>", b"<br/>", b"word " * 60, b"<!-- a -- ", b"-->", b"<pre>"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_PIECES, max_size=14).map(b"".join), st.booleans())
def test_no_line_becomes_too_long_and_nothing_fails(page: bytes, is_text: bool) -> None:
    octets = make_mail(page, type_=b"text/plain" if is_text else b"text/html")
    made = plan.plan(octets, plan.Settings(PUBLIC_URL, text_links=True))
    assert not any(reason.startswith(("fault", "verify")) for reason in made.reasons)
    result = made.render(octets, mint)
    assert undone(octets, made.edits(octets, mint), result) == octets
    if _widest(octets) <= 998:
        assert _widest(result) <= 998
    shown = re.findall(rb"https://track\.example/([ocu])/", result.partition(b"\r\n\r\n")[2])
    assert shown.count(b"c") == len(tracked(made))
    assert shown.count(b"o") == made.pixels


@pytest.mark.parametrize("end", [b"x", b"=3D", b" ", b"=E9"])
@pytest.mark.parametrize("width", range(70, 77))
def test_quoted_printable_lines_that_are_full_before_us_stay_within_76(width: int, end: bytes) -> None:
    line = b"<p>" + b"x" * (width - 3 - len(end)) + end
    octets = make_mail(line, type_=b"text/html; charset=iso-8859-1", encoding=b"quoted-printable")
    made = plan.plan(octets, SETTINGS)
    assert made.pixels == 1
    result = made.render(octets, mint).partition(b"\r\n\r\n")[2]
    assert _widest(result) <= transfer_encoding.QP_LINE
    text = transfer_encoding.from_quoted_printable(result).octets
    assert text.startswith(transfer_encoding.from_quoted_printable(line).octets.rstrip(b" "))
    assert text.count(b"<img") == 1
    assert undone(octets, made.edits(octets, mint), made.render(octets, mint)) == octets


def test_where_the_second_look_says_no_the_links_are_listed_as_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*_: object) -> list[parts.Part]:
        raise KeyError("x")

    octets = make_mail(_LINK + b'<a href="#x">y</a>', b"Bcc: secret@example.com")
    for name, fault in (("plan_is_sound", lambda *_: False), ("plan_is_sound", stumble)):
        monkeypatch.setattr(verify, name, fault)
        made = plan.plan(octets, SETTINGS)
        assert made.reasons == ("verify_failed",)
        assert skipped(made) == ["verify_failed", "fragment"]
        assert made.pixels == 0
        assert b"secret" not in made.render(octets, mint)


@pytest.mark.parametrize("tracked", [True, False])
@pytest.mark.parametrize("size", [870, 900, 960, 1500])
def test_an_unsubscribe_mark_in_an_href_gets_a_line_of_its_own(size: int, *, tracked: bool) -> None:
    line = b'<p style="' + b"x" * size + b'"></p><a class="u" href="' + _MARK + b'" style="color:red">Stop</a>'
    octets = make_mail(line + b"\r\n" + _LINK)
    made = plan.plan(octets, SETTINGS)
    result = made.render(octets, mint, tracked=tracked)
    assert not any("room" in reason for reason in made.reasons)
    assert _MARK not in result
    assert _widest(result) <= max(998, _widest(octets) - 1)


@pytest.mark.parametrize("after", [b"", b" or stay with us", b" or stay" + 150 * b" with us"])
@pytest.mark.parametrize("words", [180, 190, 194, 400])
def test_an_unsubscribe_mark_in_a_paragraph_gets_a_line_of_its_own(words: int, after: bytes) -> None:
    octets = make_mail(b"word " * words + _MARK + after + b"\r\n", type_=b"text/plain")
    made = plan.plan(octets, SETTINGS)
    result = made.render(octets, mint)
    assert "no_room_for_unsubscribe" not in made.reasons
    assert _MARK not in result
    assert _widest(result) <= max(998, _widest(octets) - 1)
    assert undone(octets, made.edits(octets, mint), result) == octets


def test_the_report_says_that_a_mark_was_filled_in_and_is_no_placeholder() -> None:
    made = plan.plan(make_mail(b'<a href="[unsubscribe]">stop</a><a href="[[x]]">y</a>'), SETTINGS)
    assert skipped(made) == ["unsubscribe", "placeholder"]


@pytest.mark.parametrize("type_", [b"8bit", b"base64"])
def test_a_pixel_that_gmail_does_not_show_is_reported(type_: bytes) -> None:
    for links, filler, expected in (
        (0, 103_900, ()),
        (0, 104_500, ("pixel_clipped_by_gmail",)),
        (200, 90_000, ("pixel_clipped_by_gmail",)),
    ):
        page = b"<body>" + _LINK * links + b"<p>word</p>\r\n" * (filler // 13) + b"</body>"
        in_base64 = base64.encodebytes(page).replace(b"\n", b"\r\n")
        octets = make_mail(in_base64 if type_ == b"base64" else page, encoding=type_)
        made = plan.plan(octets, SETTINGS)
        assert (made.reasons, made.pixels) == (expected, 1)
