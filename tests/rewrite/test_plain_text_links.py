"""Links in text/plain: where a URL ends, what must not be touched, and that nothing else changes.

With each tracking URL put back to where it leads, the text is what it was.
"""

import base64
import quopri

import pytest

from relay.rewrite import plan
from tests.rewrite.mails import PUBLIC_URL, make_mail, mint, multipart, skipped, tracked
from tests.rewrite.text_links import SETTINGS, put_back, text_of


def _planned(text: str, charset: str = "utf-8", *fields: bytes, parameters: str = "") -> plan.Plan:
    type_ = f"text/plain; charset={charset}{parameters}".encode()
    return plan.plan(make_mail(text.encode(charset), *fields, type_=type_), SETTINGS)


def test_they_are_left_alone_unless_they_are_asked_for() -> None:
    made = plan.plan(make_mail(b"https://a.example/\r\n", type_=b"text/plain"), plan.Settings(PUBLIC_URL))
    assert made.is_untouched
    assert made.links == ()


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("See https://a.example/x.", "https://a.example/x"),
        ("(https://a.example/x)", "https://a.example/x"),
        ("(see https://a.example/x_(y))!", "https://a.example/x_(y)"),
        ("https://a.example/x_(y)_z, and", "https://a.example/x_(y)_z"),
        ("[1]: https://a.example/x;", "https://a.example/x"),
        ("[here](https://a.example/x).", "https://a.example/x"),
        ('"https://a.example/x?!"', "https://a.example/x"),
        ("'https://a.example/x'", "https://a.example/x"),
        ("`https://a.example/x`", "https://a.example/x"),
        ("*https://a.example/x*", "https://a.example/x"),
        ("https://a.example/x_", "https://a.example/x_"),
        ("«https://a.example/x»", "https://a.example/x"),
        ("“https://a.example/x”", "https://a.example/x"),
        ("{https://a.example/x}]", "https://a.example/x"),
        ("https://a.example", "https://a.example"),
        ("https://a.example/.", "https://a.example/"),
        ("<https://a.example/x.>", "https://a.example/x."),
        ("<URL:https://a.example/x>", "https://a.example/x"),
        ("see:https://a.example/x", "https://a.example/x"),
        ("HTTPS://A.example/x", "HTTPS://A.example/x"),
        ("> > https://a.example/x", "https://a.example/x"),
        (">https://a.example/x", "https://a.example/x"),
        ("https://a.example/?u=https://b.example/", "https://a.example/?u=https://b.example/"),
        ("https://a.example/a;b,c:d@e!f$g&h=i~j%20k#l", "https://a.example/a;b,c:d@e!f$g&h=i~j%20k#l"),
        ("見てhttps://a.example/x。次", "https://a.example/x"),
        ("https://a.example/x\u00a0and", "https://a.example/x"),
        ("https://u:p@a.example:8443/x", "https://u:p@a.example:8443/x"),
        ("https://[2001:db8::1]/x", "https://[2001:db8::1]/x"),
        ("<a href='https://a.example/x'>", "https://a.example/x"),
        ("-- \r\nOrla\r\nhttps://a.example/x", "https://a.example/x"),
        ("\thttps://a.example/x\t", "https://a.example/x"),
    ],
)
def test_a_url_ends_where_a_reader_sees_it_end(text: str, url: str) -> None:
    for body in (text, text + "\r\n", "\r\n" + text + " \r\nmore\r\n"):
        made = _planned(body)
        assert tracked(made) == [url]
        assert [link.text for link in made.links] == [url]
        octets = make_mail(body.encode(), type_=b"text/plain; charset=utf-8")
        result = text_of(made.render(octets, mint))
        assert result != text_of(octets)
        assert put_back(result) == text_of(octets)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("https://track.example/u/x", "own_host"),
        ("https://www.keep.example/", "excluded_host"),
        ("https://a.example/out?id=1", "list_unsubscribe"),
        ("https://a.example/{{id}}", "placeholder"),
        ("https://a.example/*|ID|*", "placeholder"),
        ("https://a.example/<%id%>", "placeholder"),
        ("http://{{waypost_unsubscribe_url}}", "unsubscribe"),
        ("https://", "malformed"),
        ("https://a.example/straße", "not_ascii"),
        ("https://bücher.example/", "not_ascii"),
        ("https://a.example/見", "not_ascii"),
        ("https://a.example/x\u200by", "not_ascii"),
        ("https://a.example/x…", "ambiguous"),
        ("https://a.example/x...", "ambiguous"),
        ("https://a.example/x)y", "ambiguous"),
        ("_https://a.example/x_", "ambiguous"),
        ("https://a.example/,https://b.example/", "ambiguous"),
        ("[a](https://a.example/)[b](https://b.example/)", "ambiguous"),
        ("<https://a.example/x\r\ny>", "broken"),
        ("<https://a.example/x y>", "broken"),
    ],
)
def test_a_url_that_is_left_alone_says_why(text: str, reason: str) -> None:
    made = _planned(text + "\r\n", "utf-8", b"List-Unsubscribe: <https://a.example/out?id=1>")
    assert (skipped(made), tracked(made)) == ([reason], [])


@pytest.mark.parametrize(
    "text",
    ["git+https://a.example/x", "xhttps://a.example/", "a.example/https://b.example/", "http:/a", "www.a.example"],
)
def test_what_is_only_a_part_of_something_else_is_no_link(text: str) -> None:
    assert _planned(text).links == ()


@pytest.mark.parametrize(
    ("lines", "parameters", "is_tracked"),
    [
        ("see https://a.example/x \r\nthere", "; format=flowed", True),
        ("see https://a.example/x \r\nthere", "; format=flowed; delsp=yes", False),
        ("see https://a.example/x  \r\nthere", "; format=flowed; delsp=yes", True),
        ("see https://a.example/x, \r\nthere", '; FORMAT="Flowed"; DelSp=YES', False),
        ("see https://a.example/x\r\nthere", "; format=flowed; delsp=yes", True),
        ("see https://a.example/x it \r\nthere", "; format=flowed; delsp=yes", True),
        ("see \r\nhttps://a.example/x", "; format=flowed; delsp=yes", False),
        ("> see \r\n> https://a.example/x", "; format=flowed; delsp=yes", False),
        ("see  \r\nhttps://a.example/x", "; format=flowed; delsp=yes", True),
        ("-- \r\nhttps://a.example/x", "; format=flowed; delsp=yes", True),
        ("see <https://a.example/x> \r\nthere", "; format=flowed; delsp=yes", True),
        ("see https://a.example/x \r\nthere", "; delsp=yes", True),
    ],
)
def test_a_url_at_a_soft_break_is_left_alone_where_the_break_would_vanish(
    lines: str, parameters: str, is_tracked: bool
) -> None:
    made = _planned(lines, parameters=parameters)
    assert tracked(made) == ["https://a.example/x"] * is_tracked
    assert skipped(made) == ["flowed"] * (not is_tracked)


def test_a_line_that_would_become_too_long_keeps_its_url() -> None:
    text = "x" * 960 + " https://a.example/1\r\nhttps://a.example/2 " + "x" * 800 + "\r\n"
    made = _planned(text)
    assert tracked(made) == ["https://a.example/2"]
    assert skipped(made) == ["line_too_long"]
    for encoding, encoded in (
        (b"quoted-printable", quopri.encodestring(text.encode()).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")),
        (b"base64", base64.encodebytes(text.encode()).replace(b"\n", b"\r\n")),
    ):
        made = plan.plan(make_mail(encoded, type_=b"text/plain", encoding=encoding), SETTINGS)
        assert len(tracked(made)) == 2


def test_the_unsubscribe_mark_has_the_room_first() -> None:
    made = _planned(
        "<https://a.example/1>\t{{waypost_unsubscribe_url}}\t" + "x" * 850 + "\r\n"
    )  # no space to end a line at
    assert skipped(made) == ["line_too_long"]
    assert made.differs_by_recipient
    octets = make_mail(b"x" * 965 + b"{{waypost_unsubscribe_url}}\r\nhttps://a.example/\r\n", type_=b"text/plain")
    made = plan.plan(octets, SETTINGS)
    assert made.reasons == ("no_room_for_unsubscribe",)
    assert tracked(made) == ["https://a.example/"]
    assert b"{{waypost_unsubscribe_url}}" in made.render(octets, mint)


def test_links_count_over_all_parts_in_document_order() -> None:
    octets = multipart(
        b"alternative",
        b"Content-Type: text/plain\r\n\r\nhttps://a.example/1 and https://keep.example/2",
        b'Content-Type: text/html\r\n\r\n<body><a href="https://a.example/3">x</a></body>',
        b"Content-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\nhttps://a.example/no",
        b"Content-Type: text/plain\r\n\r\nhttps://a.example/4",
    )
    made = plan.plan(octets, SETTINGS)
    assert [(link.number, link.url[-1:]) for link in made.links] == [(1, "1"), (2, "2"), (3, "3"), (4, "4")]
    result = made.render(octets, mint)
    for url, count in ((b"/1", 0), (b"/2", 1), (b"/3", 0), (b"/no", 1), (b"/4", 0)):
        assert result.count(b".example" + url) == count
    assert made.render(octets, mint, tracked=False).endswith(octets)


def test_a_text_that_cannot_be_read_says_why() -> None:
    octets = make_mail("https://a.example/".encode("utf-16"), type_=b"text/plain; charset=utf-16")
    assert plan.plan(octets, SETTINGS).reasons == ("charset:utf-16",)
    armour = make_mail(b"-----BEGIN PGP MESSAGE-----\r\nhttps://a.example/\r\n", type_=b"text/plain")
    assert plan.plan(armour, SETTINGS).reasons == ("pgp_armour",)
    signed = multipart(b"signed", b"Content-Type: text/plain\r\n\r\nhttps://a.example/")
    assert plan.plan(signed, SETTINGS).reasons == ("signed",)


@pytest.mark.parametrize("charset", ["iso-2022-jp", "shift_jis", "euc-jp", "big5", "gb18030", "iso-8859-1", "utf-8"])
def test_double_byte_text_around_a_url_stays(charset: str) -> None:
    foreign = "Grüße" if charset == "iso-8859-1" else "中文"
    text = f"{foreign} https://a.example/x {foreign}\r\n{foreign}<https://a.example/y>{foreign}\r\n"
    made = _planned(text, charset)
    assert tracked(made) == ["https://a.example/x", "https://a.example/y"]
    octets = make_mail(text.encode(charset), type_=f"text/plain; charset={charset}".encode())
    assert put_back(text_of(made.render(octets, mint))) == text


def test_octets_that_are_half_a_character_do_not_begin_a_url() -> None:
    for charset in (b"shift_jis", b"big5", b"gbk"):
        made = plan.plan(make_mail(b"\x88https://a.example/", type_=b"text/plain; charset=" + charset), SETTINGS)
        assert tracked(made) == []
