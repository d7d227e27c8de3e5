"""Which links are tracked, where they lead, and why the others are left alone."""

import base64
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.rewrite import anchors, html_tokenizer, link_url, links, plan
from relay.tokens import MAX_URL_OCTETS
from tests import processor_time
from tests.rewrite.mails import PUBLIC_URL, SETTINGS, make_mail, mint, skipped, tracked
from tests.rewrite.mails import destination as leads_to


def _planned(html: str, charset: str = "utf-8", *fields: bytes, **settings: object) -> plan.Plan:
    wishes = plan.Settings(PUBLIC_URL, **settings)  # type: ignore[arg-type]  # whatever a test wants set
    return plan.plan(make_mail(html.encode(charset), *fields, type_=f"text/html; charset={charset}".encode()), wishes)


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        ('<a href="mailto:a@b.example">x</a>', "scheme:mailto"),
        ('<a href="tel:+1">x</a>', "scheme:tel"),
        ('<a href=" java\tscript:x">x</a>', "scheme:javascript"),
        ('<a href="#top">x</a>', "fragment"),
        ('<a href="/a">x</a>', "relative"),
        ('<a href="//host.example/">x</a>', "relative"),
        ('<a href="">x</a>', "empty"),
        ("<a href>x</a>", "empty"),
        ('<a href="http://">x</a>', "malformed"),
        ('<a href="https:host.example">x</a>', "malformed"),
        ('<a href="https://a.example/" clicktracking=off>x</a>', "opt_out"),
        ("<a href='https://a.example/' CLICKTRACKING='Off'>x</a>", "opt_out"),
        ('<a data-pm-no-track href="https://a.example/">x</a>', "opt_out"),
        ('<a href="https://a.example/" ses:no-track>x</a>', "opt_out"),
        ('<a href="https://a.example/" mc:disable-tracking>x</a>', "opt_out"),
        ('<a data-msys-clicktrack="0" href="https://a.example/">x</a>', "opt_out"),
        ('<a disable-tracking="true" href="https://a.example/">x</a>', "opt_out"),
        ('<a disable-tracking=true href="https://a.example/">x</a>', "opt_out"),
        ('<a data-no-track href="https://a.example/">x</a>', "opt_out"),
        ('<a href="https://keep.example/">x</a>', "excluded_host"),
        ('<a href="https://www.KEEP.example./">x</a>', "excluded_host"),
        ('<a href="https://u@keep.example:8443/">x</a>', "excluded_host"),
        ('<a href="https://track.example/u/x">x</a>', "own_host"),
        ('<a href="https://Track.example:443/">x</a>', "own_host"),
        ('<a href="{{url}}">x</a>', "placeholder"),
        ('<a href="https://a.example/*|ID|*">x</a>', "placeholder"),
        ('<a href="https://a.example/%recipient.id%">x</a>', "placeholder"),
        ('<a href="https://a.example/[[id]]">x</a>', "placeholder"),
        ('<a href="https://a.example/<%id%>">x</a>', "placeholder"),
        ('<a href="https://a.example/?x=%7B%7Bid%7D%7D">x</a>', "placeholder"),
        ('<a href="{{waypost_unsubscribe_url}}">x</a>', "unsubscribe"),
        ('<a href="https://a.example/out?id=1&amp;x=2">x</a>', "list_unsubscribe"),
        ('<a href="https://a.example/">https://a.example/</a>', "text_is_url"),
        ('<a href="https://a.example/"> <b>www.other.example/x</b>\r\n</a>', "text_is_url"),
        ('<a href="https://a.example/x">a.example</a>', "text_is_url"),
        ('<a href="https://a.example/x">bank.com</a>', "text_is_url"),
    ],
)
def test_a_link_that_is_skipped_says_why(link: str, reason: str) -> None:
    own = b"List-Unsubscribe: <mailto:a@b.example>, <https://a.example/out?id=1\r\n &x=2>"
    made = _planned(f"<p>{link}</p>", "utf-8", own, exclude=frozenset({"keep.example"}))
    assert (skipped(made), tracked(made)) == ([reason], [])


@pytest.mark.parametrize(
    "link",
    [
        '<a href="https://a.example/" clicktracking="on">x</a>',
        '<a href="https://a.example/" data-msys-clicktrack="1">x</a>',
        '<a href="https://a.example/" disable-tracking="false">x</a>',
        '<a href="https://notkeep.example/">x</a>',
        '<a href="https://a.example/?keep.example">x</a>',
        '<a href="https://keep.example@a.example/">x</a>',
        '<a href="https://track.example.a.example/">x</a>',
        '<a href="https://a.example/">Node.js</a>',
        '<a href="https://a.example/">see https://a.example/ now</a>',
        '<a href="https://a.example/">report.pdf</a>',
        '<a href="HTTPS://a.example/">x</a>',
        '<a href="\r\n https://a.example/x\ty ">x</a>',
    ],
)
def test_a_link_that_only_resembles_those_is_tracked(link: str) -> None:
    assert len(tracked(_planned(link, exclude=frozenset({"keep.example"})))) == 1


def test_a_text_that_is_a_url_may_be_tracked_all_the_same() -> None:
    made = _planned('<a href="https://a.example/">https://a.example/</a>', text_is_url="track")
    assert tracked(made) == ["https://a.example/"]


def test_links_are_numbered_in_document_order_with_their_text() -> None:
    made = _planned(
        '<a href="#x">top</a><!--[if mso]><v:rect href="https://a.example/1">Buy\r\n<b>now</b></v:rect><![endif]-->'
        '<a href="https://a.example/2"><img alt="A pot"></a><area href="https://a.example/3">'
    )
    assert [(link.number, link.url, link.text) for link in made.links] == [
        (1, "#x", "top"),
        (2, "https://a.example/1", "Buy now"),
        (3, "https://a.example/2", "A pot"),
        (4, "https://a.example/3", ""),
    ]


@pytest.mark.parametrize(
    ("charset", "href", "target"),
    [
        ("utf-8", "https://a.example/?a=1&amp;b=2#c", "https://a.example/?a=1&b=2#c"),
        ("utf-8", "https://a.example/?a=1&copy=2&reg", "https://a.example/?a=1&copy=2%C2%AE"),
        ("utf-8", "https://a.example/%zz\\x|^`", "https://a.example/%zz\\x|^`"),
        ("utf-8", " https://a.example/a b ", "https://a.example/a%20b"),
        ("utf-8", "https://a.example/ä?ä#ä", "https://a.example/%C3%A4?%C3%A4#%C3%A4"),
        ("iso-8859-1", "https://a.example/ä?ä#ä", "https://a.example/%C3%A4?%E4#%C3%A4"),
        ("iso-8859-1", "https://a.example/?&#x2603;", "https://a.example/?%26%239731%3B"),
        ("shift_jis", "https://a.example/?ソ", "https://a.example/?%83%5C"),
        ("iso-2022-jp", "https://a.example/目", "https://a.example/%E7%9B%AE"),
        ("utf-8", "https://Bücher.example/", "https://xn--bcher-kva.example/"),
        ("utf-8", "https://straße.example:8080/", "https://xn--strae-oqa.example:8080/"),
        ("utf-8", "https&colon;//a.example/&#x80;", "https://a.example/%E2%82%AC"),
        ("utf-8", "https://[::1]/x", "https://[::1]/x"),
    ],
)
def test_a_redirect_leads_where_a_browser_would_have_gone(charset: str, href: str, target: str) -> None:
    octets = make_mail(f'<a href="{href}">x</a>'.encode(charset), type_=f"text/html; charset={charset}".encode())
    result = plan.plan(octets, SETTINGS).render(octets, mint)
    url = result.partition(b'<a href="')[2].partition(b'"')[0].decode("ascii")
    assert leads_to(url) == target


@pytest.mark.parametrize("name", ["#", "#x", "#xG", "nosuch", "#" + "9" * 5000, "#0", "#xD800", "#x110000"])
def test_odd_references_are_resolved_like_a_browser_does(name: str) -> None:
    text = link_url.decode_href(f"https://a.example/&{name};x")
    assert text in (f"https://a.example/&{name};x", "https://a.example/\ufffdx")


def test_a_url_that_would_become_too_long_is_skipped() -> None:
    noise = "".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(30))
    assert skipped(_planned(f'<a href="https://a.example/{noise}">x</a>')) == ["too_long"]
    made = _planned('<a href="https://a.example/' + "a" * 2000 + '">x</a>')  # this one deflates
    assert len(tracked(made)) == 1
    assert made.reasons == ()


def test_no_click_url_is_longer_than_it_may_be() -> None:
    for size in range(500, 700, 7):
        noise = base64.urlsafe_b64encode(hashlib.shake_256(b"x").digest(size)).decode("ascii")[:size]
        octets = make_mail(f'<a href="https://a.example/{noise}">x</a>'.encode())
        result = plan.plan(octets, SETTINGS).render(octets, mint)
        url = result.partition(b'<a href="')[2].partition(b'"')[0]
        assert url.startswith(b"https://a.example/") or len(url) <= MAX_URL_OCTETS


def test_what_reads_as_an_address_is_told_from_what_does_not() -> None:
    assert links.shows_address("(https://a.example)", "b.example")
    assert links.shows_address("shop.a.example/x?y", "a.example")
    assert not links.shows_address("1.5", "a.example")
    assert not links.shows_address("e.g. this", "a.example")
    assert not links.shows_address("", "a.example")


@pytest.mark.parametrize(
    ("href", "asked_for"),
    [
        ("https://sho&shy;p.example/e", b"https://shop.example/e"),
        ("https://shop\u200b.example/b", b"https://shop.example/b"),
        ("https://sho\ufe0fp.example/c", b"https://shop.example/c"),
        ("https://\ufeffshop.example/d", b"https://shop.example/d"),
        ("https://fa\xdf.example/", b"https://xn--fa-hia.example/"),
        ("https://B\xdcCHER.example/", b"https://xn--bcher-kva.example/"),
        ("https://bu\u0308cher\u3002example/", b"https://xn--bcher-kva.example/"),
        ("https://\u2603.example:8443/\xe4", b"https://xn--n3h.example:8443/%C3%A4"),
        ("http://127.1/", b"http://127.1/"),
        ("http://[::1]/", b"http://[::1]/"),
    ],
)
def test_a_link_asks_for_the_host_that_a_browser_would_ask_for(href: str, asked_for: bytes) -> None:
    assert link_url.to_location(link_url.decode_href(href), "utf-8") == asked_for


@pytest.mark.parametrize(
    "host",
    [
        "shop.example&nbsp; Lantern",
        "shop.example Lantern",
        "a%40b.example",
        "a%20b.example",
        "1.2.3.4.5",
        "256.1.1.1",
        "09.1.1.1",
        "[::1",
        "[1::2::3]",
        "\ufffd.example",
        "a\uff0fb.example",
        f"{64 * 'a'}.example",
        f"{60 * chr(0xE4)}{60 * chr(0xF6)}.example",
        ".".join(5 * [60 * "a"]),
    ],
)
def test_a_host_that_no_browser_opens_is_left_alone(host: str) -> None:
    assert skipped(_planned(f'<a href="https://{host}/">x</a>')) == ["malformed"]


def test_a_host_of_thousands_of_foreign_letters_costs_no_time() -> None:
    long = "".join(map(chr, range(0x4E00, 0x4E00 + 20_000)))
    with processor_time.at_most(5):  # with Punycode over all of them it was minutes
        assert skipped(_planned(f'<a href="https://{long}.example/">x</a>')) == ["too_long"]
        assert skipped(_planned(f'<a href="https://{long[:5000]}.example/">x</a>')) == ["malformed"]


@pytest.mark.parametrize(
    "value",
    [
        b"<https://shop.example/out?Id=1>",
        b"<mailto:out@shop.example>, <HTTPS://Shop.example/out?Id=1>",
        b"https://shop.example/out?Id=1",
        b"mailto:out@shop.example, https://shop.example/out?Id=1",
        b"=?utf-8?q?=3Chttps=3A//shop=2Eexample/out=3FId=3D1=3E?=",
    ],
)
def test_the_apps_own_way_to_leave_is_not_tracked_however_it_is_written(value: bytes) -> None:
    page = b'<a href="https://shop.example/out?Id=1">x</a><a href="https://SHOP.example/out?Id=1">y</a>'
    made = plan.plan(
        make_mail(page + b'<a href="https://shop.example/out?id=1">z</a>', b"List-Unsubscribe: " + value), SETTINGS
    )
    assert skipped(made) == ["list_unsubscribe"] * 2
    assert tracked(made) == ["https://shop.example/out?id=1"]


_LABEL_PIECES = (
    "<img",
    ' alt="a &amp; b"',
    " alt='c'",
    ' alt=""',
    ' src="<x>"',
    " ALT",
    "/",
    " ",
    ">",
    "d",
    "<b>",
    "</b>",
    "&lt",
)


@settings(max_examples=500)
@given(st.lists(st.sampled_from(_LABEL_PIECES), max_size=8))
def test_a_label_that_is_quick_to_read_is_what_its_tags_say(pieces: list[str]) -> None:
    octets = ('<a href="x"><img' + "".join(pieces) + "></a>").encode()
    markup = html_tokenizer.tokenize_fast(octets)
    if len(markup.tags) == 2:
        start, stop = markup.tags[0].end, markup.tags[1].start
        inside = markup.tokenize_within(start, stop)
        slow = anchors._read_label(octets, inside, start, stop, "utf-8")
        assert anchors._label(octets, markup, 0, "utf-8") == " ".join(slow.split())
