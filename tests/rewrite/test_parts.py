"""The MIME tree: every part where it lies, and doubt where two readers could see different trees."""

import email
import email.message
import email.policy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.mime import content_type, parts
from relay.rewrite import plan
from tests.rewrite.mails import SETTINGS, make_mail, multipart, tracked

_TEXT = b"Content-Type: text/plain\r\n\r\nhello"
_HTML = b"Content-Type: text/html\r\n\r\n<p>hello</p>"


def _bodies(octets: bytes) -> list[bytes]:
    found = parts.walk_parts(octets)
    return [octets[part.body : part.end] for part in found if not part.type.startswith("multipart/")]


def test_the_line_end_before_a_delimiter_is_not_the_parts() -> None:
    assert _bodies(multipart(b"mixed", _TEXT, _HTML + b"\r\n")) == [b"hello", b"<p>hello</p>\r\n"]


def test_a_boundary_that_begins_another_does_not_tear_the_tree() -> None:
    inner = multipart(b"alternative", _TEXT, _HTML, boundary=b"bb2", close=b"--bb2--\r\n")
    found = parts.walk_parts(multipart(b"mixed", inner, _TEXT))
    assert [part.type for part in found] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "text/plain",
    ]
    assert not any(part.sealed for part in found)


def test_children_come_after_their_parent_in_document_order() -> None:
    inner = multipart(b"alternative", _TEXT, _HTML, boundary=b"cc", close=b"--cc--\r\n")
    found = parts.walk_parts(multipart(b"mixed", inner, _TEXT))
    assert [part.parent for part in found] == [parts.ROOT, 0, 1, 1, 0]
    assert [part.start for part in found] == sorted(part.start for part in found)


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (multipart(b"mixed", close=b""), "missing_boundary"),
        (multipart(b"mixed", _HTML, close=b"--bb--\r\n--bb\r\n\r\nx\r\n--bb--\r\n"), "ambiguous_boundary"),
        (multipart(b"mixed", _HTML + b"\r\n--bbx\r\nmore"), "ambiguous_boundary"),
        (multipart(b"signed", _HTML), "signed"),
        (multipart(b"encrypted", _HTML), "encrypted"),
        (multipart(b"report", _HTML), "report"),
        (b"Content-Type: application/pkcs7-mime\r\n\r\nx", "pkcs7"),
        (b"Content-Type: multipart/mixed\r\n\r\nx", "boundary"),
        (b"Content-Type: multipart/mixed; boundary=a; boundary=b\r\n\r\n--a\r\n\r\n--a--", "content_type"),
        (b"Content-Type: text/html\r\nContent-type: text/plain\r\n\r\nx", "duplicate_content_type"),
        (b"Content-Type: text/html\r\nnot a field\r\n\r\nx", "malformed_header"),
        (b"Content-Type : text/html\r\n\r\nx", "malformed_header"),
    ],
)
def test_what_could_be_read_in_two_ways_is_sealed(octets: bytes, reason: str) -> None:
    assert {part.sealed for part in parts.walk_parts(octets)} == {reason}


@pytest.mark.parametrize(
    "octets",
    [
        multipart(b"mixed", _HTML, close=b""),
        b"Content-Transfer-Encoding: base64\r\n" + multipart(b"mixed", _HTML),
        b"Content-Transfer-Encoding: quoted-printable\r\n" + multipart(b"mixed", _HTML),
    ],
)
def test_what_all_readers_read_alike_is_not_sealed(octets: bytes) -> None:
    assert [(part.type, part.sealed) for part in parts.walk_parts(octets)] == [
        ("multipart/mixed", ""),
        ("text/html", ""),
    ]


def test_an_encoding_that_not_every_reader_decodes_is_left_alone() -> None:
    link = b'<a href=3D"https://a.example/">x</a>'
    assert plan.plan(make_mail(link, encoding=b"quoted-printable;"), SETTINGS).reasons == ("encoding:none",)
    assert plan.plan(make_mail(link.replace(b"3D", b""), encoding=b"8bit;"), SETTINGS).pixels == 1


@pytest.mark.parametrize("name", [b"8bits", b"7-BIT", b"8 bit", b'"8bit"', b"none", b"UTF-8", b""])
def test_an_encoding_that_can_only_mean_none_is_none(name: bytes) -> None:
    made = plan.plan(make_mail(b'<a href="https://a.example/">x</a>', encoding=name), SETTINGS)
    assert (made.reasons, made.pixels, len(tracked(made))) == ((), 1, 1)


def test_only_the_part_in_doubt_is_sealed() -> None:
    cut = multipart(b"alternative", _TEXT, boundary=b"cc", close=b"")
    found = parts.walk_parts(multipart(b"mixed", cut, _HTML))
    assert [(part.type, part.sealed) for part in found] == [
        ("multipart/mixed", ""),
        ("multipart/alternative", "missing_final_boundary"),
        ("text/html", ""),
    ]


def test_a_message_inside_a_message_is_one_part() -> None:
    found = parts.walk_parts(
        multipart(b"mixed", _HTML, b"Content-Type: message/rfc822\r\n\r\n" + multipart(b"mixed", _HTML))
    )
    assert [part.type for part in found][2:] == ["message/rfc822"] or found[0].sealed


def test_depth_is_limited_and_takes_no_recursion() -> None:
    octets = b"Content-Type: text/plain\r\n\r\nx"
    for n in range(500):
        octets = multipart(b"mixed", octets, boundary=b"b%dx" % n, close=b"--b%dx--\r\n" % n)
    found = parts.walk_parts(octets)
    assert found[-1].sealed == "too_deep"
    assert len(found) == parts.MAX_DEPTH + 1


def test_a_page_is_found_up_to_the_greatest_depth_and_not_below() -> None:
    for depth, count in ((parts.MAX_DEPTH, 1), (parts.MAX_DEPTH + 1, 0)):
        octets = b'Content-Type: text/html\r\n\r\n<a href="https://a.example/">x</a>'
        for n in range(depth):
            octets = multipart(b"mixed", octets, boundary=b"b%dx" % n, close=b"--b%dx--\r\n" % n)
        made = plan.plan(octets, SETTINGS)
        assert len(tracked(made)) == count
        assert made.reasons == (() if count else ("too_deep",))


@pytest.mark.parametrize(
    "value",
    [
        b'multipart/mixed;\r\n\tboundary="b=_b"',
        b'multipart\r\n /mixed;\r\n boundary\r\n =\r\n "b=_b"\r\n ;',
        b'multipart/mixed; boundary="b\\=_b"; charset="x;boundary=no"',
        b"multipart/mixed; boundary=b=_b",
        b'Multipart/MIXED (a "; boundary=no); BOUNDARY = "b=_b" (so (it) is)',
        b"multipart/mixed; boundary*=us-ascii'en'b%3D_b",
        b'multipart/mixed; boundary*0="b="; x=y;\r\n boundary*1=_b',
        b"multipart/mixed; boundary*1*=%5Fb; boundary*0*=us-ascii''b%3D",
    ],
)
def test_a_boundary_is_read_however_it_is_written(value: bytes) -> None:
    inside = b"--b=_b \t\r\n" + _TEXT + b"\r\n--b=_b\r\n" + _HTML + b"\r\n--b=_b--\r\n"
    octets = b"Subject: x\r\nContent-Type: " + value + b"\r\n\r\npreamble\r\n" + inside + b"epilogue"
    assert [(part.type, part.sealed) for part in parts.walk_parts(octets)] == [
        ("multipart/mixed", ""),
        ("text/plain", ""),
        ("text/html", ""),
    ]
    assert plan.plan(octets, SETTINGS).pixels == 1


def test_the_number_of_parts_is_limited() -> None:
    assert parts.walk_parts(multipart(b"mixed", *[b"\r\n"] * 2000))[0].sealed == "too_many_parts"


@pytest.mark.parametrize(
    ("fields", "is_file"),
    [
        (b"Content-Type: text/html\r\nContent-Disposition: attachment", True),
        (b"Content-Type: text/html\r\nContent-Disposition: ATTACHMENT; filename=x.html", True),
        (b"Content-Type: text/html\r\nContent-Disposition: inline", False),
        (b"Content-Type: text/html\r\nContent-Disposition: inline; filename=x.html", True),
        (b"Content-Type: text/html; name=x.html", True),
        (b"Content-Type: text/html\r\nContent-Disposition: odd", True),
        (b"Content-Type: text/html", False),
    ],
)
def test_a_file_is_not_a_body(fields: bytes, is_file: bool) -> None:
    assert parts.walk_parts(multipart(b"mixed", _TEXT, fields + b"\r\n\r\nx"))[2].is_file is is_file


def test_only_the_root_of_a_related_group_is_a_body() -> None:
    page = b"Content-Type: text/html\r\nContent-ID: <%s>\r\n\r\nx"
    octets = multipart(b"related", page % b"a", page % b"b")
    assert [part.is_file for part in parts.walk_parts(octets)[1:]] == [False, True]
    octets = octets.replace(b"; boundary", b'; start="<b>"; boundary')
    assert [part.is_file for part in parts.walk_parts(octets)[1:]] == [True, False]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"text/html", ("text/html", {})),
        (b' Text/HTML ; charset = "utf-8" ;', ("text/html", {"charset": "utf-8"})),
        (b"text/html (a (nested) \\) comment); charset=utf-8 (x)", ("text/html", {"charset": "utf-8"})),
        (b'multipart/mixed; boundary="a(b)\\"c"', ("multipart/mixed", {"boundary": 'a(b)"c'})),
        (b"multipart/mixed; boundary=----=_Part_0/1:2", ("multipart/mixed", {"boundary": "----=_Part_0/1:2"})),
        (b'multipart/mixed; boundary*0=ab; boundary*1="cd"', ("multipart/mixed", {"boundary": "abcd"})),
        (b"multipart/mixed; boundary*=us-ascii'en'a%20b", ("multipart/mixed", {"boundary": "a b"})),
        (b"multipart/mixed; boundary*0*=''a%3D; boundary*1=b", ("multipart/mixed", {"boundary": "a=b"})),
        (b"a/b; name=x; name*=utf-8''y", ("a/b", {"name": "x"})),
    ],
)
def test_media_types_are_read_by_the_rfcs(value: bytes, expected: tuple[str, dict[str, str]]) -> None:
    assert content_type.parse_content_type(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"text",
        b"text/html; charset",
        b"text/html; a=b c",
        b"text/html (open",
        b"text/html; charset=a; CHARSET=b",
        b"multipart/mixed; boundary=a; boundary*=''b",
        b"multipart/mixed; boundary*0=a; boundary*2=b",
        b'text/html; charset="open',
    ],
)
def test_media_types_in_doubt_are_none(value: bytes) -> None:
    assert content_type.parse_content_type(value) is None


_BOUNDARIES = st.sampled_from([b"a", b"aa", b"a-", b"--", b"=_x", b"a'b", b"ab"])
_LEAVES = st.sampled_from(
    [_TEXT, _HTML, b"\r\nplain", b"Content-Type: image/png\r\n\r\n\r\n", b"X: y\r\n\r\n-- \r\nme"]
)


def _nest(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.builds(
        lambda boundary, children: multipart(
            b"mixed", *children, boundary=boundary, close=b"--" + boundary + b"--\r\n"
        ),
        _BOUNDARIES,
        st.lists(inner, min_size=1, max_size=3),
    )


@settings(max_examples=300, deadline=None)
@given(_nest(st.recursive(_LEAVES, _nest, max_leaves=8)))
def test_an_undoubted_tree_is_the_one_that_the_standard_library_sees(octets: bytes) -> None:
    found = parts.walk_parts(octets)
    if any(part.sealed for part in found):
        return
    message = email.message_from_bytes(octets, policy=email.policy.compat32)
    seen = list(message.walk())
    assert [part.type for part in found] == [part.get_content_type() for part in seen]
    for part, other in zip(found, seen, strict=True):
        if not other.is_multipart():
            assert octets[part.body : part.end] == other.get_payload(decode=True)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([b"--a", b"--a--", b"\r\n", b"Content-Type: multipart/mixed; boundary=a", b" ", b"x"])))
def test_spans_nest_whatever_comes(pieces: list[bytes]) -> None:
    octets = b"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + b"".join(pieces)
    found = parts.walk_parts(octets)
    for part in found:
        assert 0 <= part.start <= part.body <= part.end <= len(octets)
        if part.parent != parts.ROOT:
            assert found[part.parent].body <= part.start and part.end <= found[part.parent].end
