"""Mail made to be slow: it takes time in proportion to its size, under a second a megabyte.

Time is the thread's own, so that a busy machine fails nobody. The slowest took 0.9 s: 55,000 links without room.
"""

import pytest

from relay import redaction
from relay.rewrite import links, plan
from tests import processor_time
from tests.rewrite.mails import PUBLIC_URL, SETTINGS, make_mail, mint, multipart, skipped, tracked

_LIMIT_S = 1.5
_MILLION = 1_000_000
_HOSTILE = {
    "less-than": b"<" * _MILLION,
    "tags": b"<a" * (_MILLION // 2),
    "ends": b"</" * (_MILLION // 2),
    "comments": b"<!--" * (_MILLION // 4),
    "conditions": b"<!--[if x]>" * (_MILLION // 11),
    "closed comments": b"<!--[if x]>-->" * (_MILLION // 14),
    "bogus comments": b"<!" * (_MILLION // 2),
    "double quotes": b"<a " + b'"' * _MILLION,
    "open quotes": b"<a " + b"='" * (_MILLION // 2),
    "attributes": b"<a " + b" ".join(b"a%d" % n for n in range(250_000)) + b">",
    "one attribute": b"<a " + b"a=1 " * 250_000 + b">",
    "equals": b"<a " + b"= " * (_MILLION // 2) + b">",
    "spaces": b"<a" + b" " * _MILLION,
    "scripts": b"<script><!--" + b"<script>" * (_MILLION // 8),
    "svg": b"<svg>" * (_MILLION // 5),
    "deep": b"<div>" * (_MILLION // 5),
    "titles": b"<title>" * (_MILLION // 7),
    "bodies": b"".join(b"<body a%d=1>" % n for n in range(_MILLION // 14)),
    "formats": b"".join(b"<b x=%d><p>" % n for n in range(_MILLION // 13)),
    "plain attributes": (b"<a" + b' a="b"' * 3_000 + b' href="https://a.example/">x</a>') * (_MILLION // 18_000),
    "references": b'<a href="https://a.example/' + b"&a" * (_MILLION // 2) + b'">',
    "marks": b"{{waypost_unsubscribe_url" * (_MILLION // 25),
    "comments in a label": b'<a href="https://a.example/"><img alt="' + b"<!--" * (_MILLION // 4) + b'"></a>',
    "braces": b"{{ " * (_MILLION // 3) + b"waypost_unsubscribe_url",
}


@pytest.mark.parametrize("name", _HOSTILE)
def test_hostile_pages_take_linear_time(name: str) -> None:
    _in_time(make_mail(_HOSTILE[name]))


def _deep(octets: bytes) -> bytes:
    for n in range(100):
        octets = multipart(b"mixed", octets, boundary=b"b%dx" % n, close=b"--b%dx--\r\n" % n)
    return octets


@pytest.mark.parametrize(
    "octets",
    [
        make_mail(b"=" * _MILLION, encoding=b"quoted-printable"),
        make_mail(b"= " * (_MILLION // 2), encoding=b"quoted-printable"),
        make_mail(b"=\r\n" * (_MILLION // 3), encoding=b"quoted-printable"),
        make_mail(b'<a href=3D"https://a.example/">x</a>' * 9_000, encoding=b"quoted-printable"),
        make_mail(
            (b'<a href=3D"https://a.example/">x</a>' + b"=3D" * 1000 + b"=\r\n") * 300, encoding=b"quoted-printable"
        ),
        make_mail(b"\r\n" * (_MILLION // 2), encoding=b"base64"),
        b"A: b\r\n" * (_MILLION // 6),
        b" \r\n" * (_MILLION // 3),
        b":" * _MILLION,
        b"Content-Type: text/html" + b"; a" * (_MILLION // 3) + b"\r\n\r\n",
        b"Content-Type: text/html " + b"(" * _MILLION + b"\r\n\r\n",
        b'Content-Type: text/html; a="' + b"\\" * _MILLION + b"\r\n\r\n",
        multipart(b"mixed", b"--a\r\n" * (_MILLION // 5), boundary=b"a"),
        multipart(b"mixed", *[b"\r\n"] * (_MILLION // 10)),
        _deep(b"Content-Type: text/html\r\n\r\n" + b"--b--\r\n" * (_MILLION // 7)),
        b"From: " + b"=?utf-8?q?=" * (_MILLION // 10) + b"\r\n\r\n",
        b"List-Unsubscribe: =?punycode?q?a-" + b"kb2a" * (_MILLION // 4) + b"?=\r\n\r\n",
        b"X-Waypost-Track: " + b"a" * _MILLION + b"\r\n\r\n",
    ],
    ids=range(18),
)
def test_hostile_mail_takes_linear_time(octets: bytes) -> None:
    _in_time(octets)


@pytest.mark.parametrize("word", [b"a", b"a=", b"@a", b"a+", b"%40"])
def test_long_links_are_searched_for_names_in_linear_time(word: bytes) -> None:
    link = b'<a href="https://a.example/' + word * (7_000 // len(word)) + b'">x</a>\r\n'
    page = link * (_MILLION // 4 // len(link))  # 2 s a megabyte
    _in_time(
        make_mail(page), SETTINGS._replace(identifying_strings=redaction.identifying_strings(["ann@rcpt.example"]))
    )


def _in_time(octets: bytes, settings: plan.Settings = SETTINGS) -> plan.Plan:
    with processor_time.at_most(_LIMIT_S):
        made = plan.plan(octets, settings)
        made.render(octets, mint)
    assert not any(reason.startswith("fault") for reason in made.reasons)
    return made


@pytest.mark.parametrize("line_end", [b"", b"\r\n"])
def test_many_links_take_linear_time(line_end: bytes) -> None:
    made = _in_time(make_mail((b'<a href="https://a.example/">x</a>' + line_end) * 5_000))
    assert len(tracked(made)) == 5_000


def test_only_so_many_links_are_tracked() -> None:
    page = b'<a href="https://a.example/">x</a>\r\n' * (links.MAX_TRACKED + 2)
    made = plan.plan(multipart(b"mixed", b"Content-Type: text/html\r\n\r\n" + page), SETTINGS)
    assert len(tracked(made)) == links.MAX_TRACKED
    assert skipped(made) == ["too_many_links"] * 2


def test_the_report_does_not_grow_with_the_mail() -> None:
    page = b'<a href="https://a.example/">x</a>\r\n' * (2 * links.MAX_TRACKED)
    made = plan.plan(make_mail(page), SETTINGS)
    assert len(tracked(made)) == links.MAX_TRACKED
    assert len(made.links) == links.MAX_REPORTED
    assert "too_many_links" in made.reasons


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (b"<a href=https://a.example/>x</a>\r\n" * (links.MAX_IN_PAGE + 1), "too_many_links"),
        (b"{{waypost_unsubscribe_url}}\r\n" * 31_000, "too_many_edits"),
    ],
)
def test_what_would_take_too_many_edits_goes_as_it_came(page: bytes, reason: str) -> None:
    octets = make_mail(page)
    made = _in_time(octets)
    assert reason in made.reasons
    assert not tracked(made)
    assert made.render(octets, mint).endswith(page)
    assert len(made.to_json()) < 2_000_000


_NO_ROOM = b"x" * 900 + b"<a/href='https://a.example/'>"


@pytest.mark.parametrize(
    "page",
    [
        (_NO_ROOM + b"\r\n") * 1000,
        (b"<a/href=https://a>" * 55 + b"\r\n") * 1000,
        b"<a/href=https://a>" * 50_000,
        b"<a/href='https://a.example/\r\n'>" * 30_000,
        (b"{{waypost_unsubscribe_url}}" * 36 + b"\r\n") * 1000,
    ],
    ids=range(5),
)
def test_links_without_room_take_linear_time(page: bytes) -> None:
    mail = make_mail(page)
    with processor_time.at_most(2 * _LIMIT_S):
        made = plan.plan(mail, SETTINGS)
    assert not any(reason.startswith(("fault", "verify")) for reason in made.reasons)


@pytest.mark.parametrize(
    "body",
    [
        b"https://" * 125_000,
        b"https://a/ " * 90_000,
        b"<https://a/ " * 80_000,
        b"https://a/" + b")" * 1_000_000,
        b"https://a/" + b"(" * 1_000_000,
        b"https://a/" + b"." * 1_000_000,
        b"https://a/\xc3\xa4" * 80_000,
        b"https://a/ \r\n" * 80_000,
        b"{{waypost_unsubscribe_url}}" * 37_000,
        b"> " * 500_000 + b"https://a/",
    ],
    ids=range(10),
)
def test_hostile_text_takes_linear_time(body: bytes) -> None:
    mail = make_mail(body, type_=b"text/plain; format=flowed; delsp=yes; charset=utf-8")
    with processor_time.at_most(2 * _LIMIT_S):
        made = plan.plan(mail, plan.Settings(PUBLIC_URL, text_links=True))
    assert not any(reason.startswith(("fault", "verify")) for reason in made.reasons)
