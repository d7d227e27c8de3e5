"""List-Unsubscribe comes as a pair, above all else, or not at all; and the mark becomes the link."""

import pytest

from relay.rewrite import plan
from tests.rewrite.mails import PUBLIC_URL, SETTINGS, make_mail, mint, mint_for, tracked

_PLAIN = make_mail(b"hello\r\n", type_=b"text/plain")
_LINK = f"{PUBLIC_URL}/u/".encode()


def _added(octets: bytes, **settings: object) -> bytes:
    """What stands above the message."""
    made = plan.plan(octets, plan.Settings(**{"public_url": PUBLIC_URL, **settings}))  # type: ignore[arg-type]
    return b"".join(edit.new for edit in made.edits(octets, mint) if edit.start == 0)


def test_the_pair_stands_above_and_the_message_is_untouched() -> None:
    made = plan.plan(_PLAIN, SETTINGS)
    assert made.is_untouched
    first, second, _ = made.render(_PLAIN, mint).split(b"\r\n", 2)
    assert first.startswith(b"List-Unsubscribe: <" + _LINK)  # never folded behind the colon
    assert first.endswith(b">")
    assert second == b"List-Unsubscribe-Post: List-Unsubscribe=One-Click"


def test_what_was_given_for_the_top_stands_above_the_pair() -> None:
    above = (b"Received: from x\r\n", b"Date: now\r\n")
    assert _added(_PLAIN, prepended_fields=above).startswith(b"".join(above) + b"List-Unsubscribe:")
    assert plan.plan(_PLAIN, plan.Settings(PUBLIC_URL, prepended_fields=above)).is_untouched


def test_mailto_is_the_second_choice() -> None:
    added = _added(_PLAIN, unsubscribe_mailto="out@t.example")
    assert added.startswith(b"List-Unsubscribe: <http")
    assert added.count(b",\r\n <mailto:out@t.example>\r\nList-Unsubscribe-Post: ") == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"unsubscribe_header": "off"},
        {"stream": "transactional"},
        {"unsubscribe_streams": ("news*",), "stream": "receipts"},
        {"unsubscribe_streams": ()},
        {"unsubscribe_exempt": ("a*",), "stream": "Alerts"},
    ],
)
def test_a_stream_without_it_gets_none(settings: dict[str, object]) -> None:
    assert _added(_PLAIN, **settings) == b""


def test_the_messages_own_stream_decides() -> None:
    octets = make_mail(b"x", b"X-Waypost-Stream: transactional")
    assert b"List-Unsubscribe" not in plan.plan(octets, SETTINGS).render(octets, mint)


@pytest.mark.parametrize("own", [b"List-Unsubscribe: <mailto:a@b.example>", b"list-unsubscribe-post: x"])
def test_an_apps_own_fields_stay_or_are_replaced_both(own: bytes) -> None:
    octets = make_mail(b"x", own, b"X-After: y")
    assert _added(octets) == b""
    assert own in plan.plan(octets, SETTINGS).render(octets, mint)
    replaced = plan.plan(octets, plan.Settings(PUBLIC_URL, unsubscribe_header="replace")).render(octets, mint)
    assert own not in replaced
    assert replaced.startswith(b"List-Unsubscribe: <" + _LINK)
    assert b"X-After: y" in replaced


@pytest.mark.parametrize(
    "own",
    [
        (b"List-Unsubscribe: <mailto:a@b.example>",),
        (b"List-Unsubscribe:\r\n <mailto:a@b.example>,\r\n\t<https://a.example/out>", b"List-Unsubscribe-Post: x"),
        (b"List-Unsubscribe: <https://a.example/1>", b"List-Unsubscribe: <https://a.example/2>"),
        (b"LIST-UNSUBSCRIBE-POST: List-Unsubscribe=One-Click",),
        (b"List-Unsubscribe:",),
    ],
)
def test_of_an_apps_own_fields_no_half_is_added_or_left(own: tuple[bytes, ...]) -> None:
    octets = make_mail(b"x", *own)
    kept = b"\r\n".join(own)
    for settings in (
        {},
        {"unsubscribe_header": "replace", "stream": "transactional"},
        {"unsubscribe_header": "replace", "public_url": "http://t.example"},
    ):
        assert _added(octets, **settings) == b""
        made = plan.plan(octets, plan.Settings(**{"public_url": PUBLIC_URL, **settings}))  # type: ignore[arg-type]
        assert kept in made.render(octets, mint)
    replaced = plan.plan(octets, plan.Settings(PUBLIC_URL, unsubscribe_header="replace")).render(octets, mint)
    assert replaced.lower().count(b"list-unsubscribe:") == replaced.lower().count(b"list-unsubscribe-post:") == 1
    assert not any(line in replaced for line in own if line.startswith(b"List-Unsubscribe: "))
    assert b"a.example/out" not in replaced


def test_the_links_of_an_apps_own_fields_are_never_tracked() -> None:
    page = b'<body><a href="https://a.example/1">x</a><a href="https://a.example/2">y</a></body>'
    fields = (
        b"List-Unsubscribe: <mailto:x@y.example>,\r\n <https://a.exam\r\n ple/1>",
        b"List-Unsubscribe: <https://a.example/2>",
    )
    assert tracked(plan.plan(make_mail(page, *fields), SETTINGS)) == []


@pytest.mark.parametrize(
    ("url", "is_safe"),
    [
        ("https://t.example", True),
        ("http://127.0.0.1:8080", True),
        ("http://localhost:8080", True),
        ("http://[::1]:8080", True),
        ("http://t.example", False),
        ("http://127.0.0.1.t.example", False),
    ],
)
def test_one_click_needs_https_except_on_the_sandbox(url: str, is_safe: bool) -> None:
    made = plan.plan(_PLAIN, plan.Settings(url))
    assert ("unsubscribe_needs_https" in made.reasons) is not is_safe
    assert made.differs_by_recipient is is_safe


@pytest.mark.parametrize(
    "mark",
    [
        b"{{waypost_unsubscribe_url}}",
        b"{{ waypost_unsubscribe_url }}",
        b"%7B%7Bwaypost_unsubscribe_url%7D%7D",
        b"%7b%7b%20waypost_unsubscribe_url%20%7d%7d",
        b"http://{{waypost_unsubscribe_url}}",
    ],
)
def test_the_mark_becomes_the_link_in_text_and_in_hrefs(mark: bytes) -> None:
    page = make_mail(b'<body><a href="' + mark + b'">out</a> or ' + mark + b"</body>")
    made = plan.plan(page, SETTINGS)
    result = made.render(page, mint, tracked=False)
    assert tracked(made) == []
    assert result.count(_LINK) == 3
    assert result.count(b'<a href="' + _LINK) == 1
    text = make_mail(b"Out: " + mark + b"\r\n", type_=b"text/plain")
    assert b"Out: " + _LINK in plan.plan(text, SETTINGS).render(text, mint)


def test_the_mark_is_found_through_soft_breaks_and_base64() -> None:
    quoted = make_mail(
        b"Out: {{waypost_=\r\nunsubscribe_url}}, bye\r\n", type_=b"text/plain", encoding=b"quoted-printable"
    )
    result = plan.plan(quoted, SETTINGS).render(quoted, mint)
    assert b"waypost_" not in result
    assert b", bye\r\n" in result
    coded = make_mail(b"e3t3YXlwb3N0X3Vuc3Vic2NyaWJlX3VybH19\r\n", type_=b"text/plain", encoding=b"base64")
    made = plan.plan(coded, SETTINGS)
    assert made.differs_by_recipient
    assert not made.is_untouched
    assert made.render(coded, mint_for(1)) != made.render(coded, mint_for(2))


def test_a_mark_in_a_file_stays() -> None:
    octets = make_mail(b"{{waypost_unsubscribe_url}}", b"Content-Disposition: attachment", type_=b"text/plain")
    assert plan.plan(octets, SETTINGS).is_untouched
