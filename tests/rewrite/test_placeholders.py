"""What apps leave in their text for a provider becomes our link, unless that provider is still to come."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.rewrite import plan
from tests.rewrite.mails import PUBLIC_URL, make_mail, mint, multipart, skipped, tracked, undone


def _plan(octets: bytes, *upstreams: str, **more: object) -> plan.Plan:
    return plan.plan(octets, plan.Settings(PUBLIC_URL, providers=upstreams, unsubscribe_header="off", **more))  # type: ignore[arg-type]


_LINK = f"{PUBLIC_URL}/u/".encode()
_MARKS = {
    "postmark": [b"{{{ pm:unsubscribe }}}", b"{{{pm:unsubscribe_url}}}", b"%7B%7B%7B%20pm:unsubscribe%20%7D%7D%7D"],
    "mailgun": [
        b"%unsubscribe_url%",
        b"%mailing_list_unsubscribe_url%",
        b"http://%tag_unsubscribe_url%",
        b"%25unsubscribe_url%25",
    ],
    "mandrill": [b"*|UNSUB:https://a.example/out?x=1|*", b"*|UNSUB|*", b"*%7CUNSUB:http://a.example/%7C*"],
    "sendgrid": [
        b"<%asm_group_unsubscribe_raw_url%>",
        b"&lt;%asm_global_unsubscribe_raw_url%&gt;",
        b"%3C%25asm_group_unsubscribe_url%25%3E",
        b"<%asm_preferences_raw_url%>",
    ],
}


@pytest.mark.parametrize(("name", "mark"), [(name, mark) for name, marks in _MARKS.items() for mark in marks])
def test_placeholders_become_the_link_unless_their_provider_fills_them_in(name: str, mark: bytes) -> None:
    page = make_mail(b'<body><a href="' + mark + b'">out</a> <a href="https://a.example/">x</a></body>\r\n')
    made = _plan(page)
    assert (skipped(made), tracked(made)) == (["unsubscribe"], ["https://a.example/"])
    result = made.render(page, mint, tracked=False)
    assert result.count(b'<a href="' + _LINK) == 1 and mark not in result
    text = make_mail(b"Out: " + mark + b", bye\r\n", type_=b"text/plain")
    rest = _plan(text).render(text, mint).partition(b"Out: " + _LINK)[2]
    assert rest.endswith(b", bye\r\n") and b"\r\n" not in rest[:-2]
    for alone in (_plan(page, name), _plan(page, dialects=())):
        assert mark in alone.render(page, mint)
        assert skipped(alone) in (["placeholder"], ["relative"])
    assert mark in _plan(text, name).render(text, mint)


@pytest.mark.parametrize(
    ("mark", "link"),
    [
        (b"{{{ pm:unsubscribe }}}", b"Unsubscribe"),
        (b'{{{ pm:unsubscribe label="Leave &amp; go" }}}', b"Leave &amp; go"),
        (b"<%asm_group_unsubscribe_url%>", b"Unsubscribe"),
    ],
)
def test_what_stands_for_a_whole_link_becomes_one_where_one_may_stand(mark: bytes, link: bytes) -> None:
    def result(page: bytes) -> bytes:
        octets = make_mail(page)
        return _plan(octets).render(octets, mint, tracked=False)

    for before in (b"", b"<p>", b"<p>x <br> y ", b"<a href=/>x</a> ", b"<body><b>x</b> &lt; "):
        assert b"</a>" in result(before + mark).partition(b'<a href="' + _LINK)[2]
        assert result(before + mark).endswith(b'">' + link + b"</a>")
    for before in (b"<a href='", b"<a href=/><b>", b"<!-- ", b"<title>", b"<style>", b"<p title='x "):
        inside = result(before + mark)
        assert _LINK in inside and b'<a href="http' not in inside


def test_placeholders_are_found_through_transfer_encodings() -> None:
    quoted = make_mail(
        b"Out: *|UNSUB:http://a.exam=\r\nple/=\r\n|*, bye\r\n", type_=b"text/plain", encoding=b"quoted-printable"
    )
    result = _plan(quoted).render(quoted, mint)
    assert b"UNSUB" not in result and result.endswith(b", bye\r\n")
    assert _LINK in result.replace(b"=\r\n", b"")
    coded = make_mail(b"JXVuc3Vic2NyaWJlX3VybCU=\r\n", type_=b"text/plain", encoding=b"base64")
    assert not _plan(coded).is_untouched and _plan(coded, "mailgun").is_untouched
    both = multipart(b"alternative", b"\r\n%unsubscribe_url%", b"Content-Type: text/html\r\n\r\n<p>%unsubscribe_url%")
    assert _plan(both).render(both, mint, tracked=False).count(_LINK) == 2


def test_sparkposts_unsubscribe_link_is_ours() -> None:
    page = make_mail(b'<body><a data-msys-unsubscribe="1" href="https://a.example/bye?a=1&amp;b">out</a></body>\r\n')
    made = _plan(page)
    assert skipped(made) == ["unsubscribe"]
    assert b'<a data-msys-unsubscribe="1" href="' + _LINK in made.render(page, mint)
    assert b"a.example/bye" in _plan(page, "sparkpost").render(page, mint)
    text = make_mail(b'Out (https://a.example/bye[[data-msys-unsubscribe="1"]]).\r\n', type_=b"text/plain")
    result = _plan(text).render(text, mint)
    assert b"Out (" + _LINK in result and result.endswith(b").\r\n") and b"msys" not in result


def test_opt_outs_beside_a_url_are_heard_and_taken_off() -> None:
    page = make_mail(b'<body><a href="https+notrack://a.example/">x</a></body>\r\n')
    made = _plan(page, opens=False)
    assert skipped(made) == ["opt_out"]
    assert made.render(page, mint) == page.replace(b"+notrack", b"")
    assert _plan(page, "postal", opens=False).render(page, mint).endswith(page.partition(b"\r\n\r\n")[2])
    text = make_mail(
        b'http+notrack://a.example/ https://b.example/[[data-msys-clicktrack="0"]] .\r\n', type_=b"text/plain"
    )
    made = _plan(text, text_links=True)
    assert made.render(text, mint).endswith(b"\r\n\r\nhttp://a.example/ https://b.example/ .\r\n")
    assert tracked(made) == []


_PIECES = st.sampled_from(
    [
        *(mark for marks in _MARKS.values() for mark in marks),
        *(b"<%asm_group_unsubscribe_url%>", b'{{{ pm:unsubscribe label="x" }}}', b"{{waypost_unsubscribe_url}}"),
        *(b"https+notrack://a.example/", b"https://a.example/", b"[[data-msys-unsubscribe=1]]", b"[unsubscribe]"),
        *(b'[[data-msys-clicktrack="0"]]', b'<a href="', b'<a data-msys-unsubscribe="1" href="', b"<a href='", b'">'),
        *(
            b"</a>",
            b"<p>",
            b"<!-- ",
            b" -->",
            b"<!--[if mso]>",
            b"<![endif]-->",
            b"<title>",
            b"</title>",
            b" ",
            b"\r\n",
        ),
        *(b"x", b"&lt;", b"<", b'"', b"*|UNSUB:", b"|*", b"%", b"=\r\n", b"=3D", b"\xff"),
    ]
)


@settings(max_examples=300)
@given(st.lists(_PIECES, max_size=16).map(b"".join), st.sampled_from([b"html", b"plain"]), st.booleans())
def test_any_text_with_marks_is_edited_without_a_fault(text: bytes, kind: bytes, is_quoted: bool) -> None:
    encoding = b"quoted-printable" if is_quoted else b"8bit"
    octets = make_mail(text, type_=b"text/%s; charset=utf-8" % kind, encoding=encoding)
    for upstreams in ((), ("sendgrid", "sparkpost", "postal")):
        made = _plan(octets, *upstreams, text_links=True)
        assert not any(reason.startswith(("fault", "verify")) for reason in made.reasons)
        result = made.render(octets, mint)
        assert undone(octets, made.edits(octets, mint), result) == octets
        assert b"{{waypost" not in result or made.is_untouched or made.reasons


_MANY = 300_000


@pytest.mark.parametrize(
    "octets",
    [
        make_mail(b"*|UNSUB:" * (_MANY // 8)),
        make_mail(b"*|UNSUB:" + b"a%7C" * (_MANY // 4)),
        make_mail(b"<%asm_" * (_MANY // 6)),
        make_mail(b"{{{ pm:unsubscribe " * (_MANY // 19)),
        make_mail(b'{{{pm:unsubscribe label="' * (_MANY // 25)),
        make_mail(b"{{{" + b" " * _MANY + b"pm:unsubscribe"),
        make_mail(b"%unsubscribe_url" * (_MANY // 16)),
        make_mail(b"http://" * (_MANY // 7) + b"[[data-msys-unsubscribe=1]]", type_=b"text/plain"),
        make_mail(b"[[data-msys-unsubscribe=1]]" * (_MANY // 27), type_=b"text/plain"),
        make_mail(b"{{{pm:unsubscribe}}}" * (_MANY // 200)),
    ],
    ids=range(10),
)
def test_hostile_texts_take_linear_time(octets: bytes) -> None:
    begun = time.process_time()
    _plan(octets, opens=False)
    assert time.process_time() - begun < 2.0  # about 0.2 on a quiet machine
