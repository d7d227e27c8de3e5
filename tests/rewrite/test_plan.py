"""The public door: any octets have a plan, and a plan changes nothing but what it says."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.mime import line_ends
from relay.rewrite import display_fields, instrument, plan
from tests.rewrite.mails import PUBLIC_URL, SETTINGS, make_mail, mint, mint_for, multipart, tracked, undone

_PAGE = b'<html><body><a href="https://a.example/">x</a></body></html>\r\n'
_ENCODED = {
    b"8bit": _PAGE,
    b"quoted-printable": b'<html><body><a href=3D"https://a.ex=\r\nample/">x</a></body></html>=\r\n',
    b"base64": b"PGh0bWw+PGJvZHk+PGEgaHJlZj0iaHR0cHM6Ly9hLmV4YW1wbGUvIj54PC9hPjwvYm9keT48L2h0\r\nbWw+DQo=\r\n",
}

# Pieces of which mail is made, good and bad.
_PIECES = st.sampled_from(
    [
        *(b"From: a@b.example\r\n", b"Subject: x\r\n y\r\n", b"X-Waypost-Tag: t\r\n", b"Bcc: x\r\n", b"junk\r\n"),
        *(b"Content-Type: text/html; charset=utf-8\r\n", b"Content-Type: text/plain\r\n", b"Content-Type: text/html;"),
        *(b"Content-Type: multipart/mixed; boundary=b\r\n", b"Content-Type: multipart/signed; boundary=b\r\n"),
        *(b"Content-Transfer-Encoding: quoted-printable\r\n", b"Content-Transfer-Encoding: base64\r\n"),
        *(
            b"\r\n",
            b"\r\n",
            b"--b\r\n",
            b"--b\r\n",
            b"--b--\r\n",
            b"--b--\r\n",
            b"\n",
            b"\r",
            b"\x00",
            b"\xff",
            b"\x1b$B",
        ),
        *(b"<html><body>", b"</body></html>", b"<p>", b"<!--", b"-->", b"{{waypost_unsubscribe_url}}"),
        *(
            b'<a href="https://a.example/">',
            b"<a href=https://a.example/>",
            b"</a>",
            b'<a href=3D"https://a.exam=\r\nple/">',
        ),
        *_ENCODED.values(),
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.binary(max_size=400), st.lists(_PIECES, max_size=20).map(b"".join)))
def test_any_octets_have_a_plan_that_can_be_undone(octets: bytes) -> None:
    made = plan.plan(octets, SETTINGS)
    assert not any(reason.startswith(("fault", "verify")) for reason in made.reasons)
    assert plan.Plan.from_json(made.to_json()) == made
    for tracked_ in (True, False):
        result = made.render(octets, mint, tracked=tracked_)
        assert undone(octets, made.edits(octets, mint, tracked=tracked_), result) == octets
    if made.is_untouched:
        assert result.endswith(octets)


@pytest.mark.parametrize("encoding", _ENCODED)
def test_each_transfer_encoding_is_instrumented_in_its_own_way(encoding: bytes) -> None:
    octets = make_mail(_ENCODED[encoding], encoding=encoding)
    made = plan.plan(octets, SETTINGS)
    assert tracked(made) == ["https://a.example/"]
    assert made.pixels == 1
    assert made.reasons == ()
    assert made.render(octets, mint).endswith(b"=\r\n" if encoding != b"8bit" else b"</html>\r\n")


def test_recipients_get_different_links_and_a_retry_gets_the_same() -> None:
    octets = make_mail(_PAGE)
    made = plan.plan(octets, SETTINGS)
    kept = plan.Plan.from_json(made.to_json())
    assert made.differs_by_recipient
    assert made.render(octets, mint_for(1)) != made.render(octets, mint_for(2))
    assert made.render(octets, mint_for(1)) == kept.render(octets, mint_for(1))


def test_mail_that_is_already_signed_keeps_its_body_and_gets_no_pair() -> None:
    octets = make_mail(_PAGE, b"DKIM-Signature: v=1;\r\n b=x", b"X-Waypost-Tag: a")
    made = plan.plan(octets, plan.Settings(PUBLIC_URL, prepended_fields=(b"Received: x\r\n",)))
    assert made.reasons == ("already_signed",)
    assert made.render(octets, mint) == b"Received: x\r\n" + octets.replace(b"X-Waypost-Tag: a\r\n", b"")


def test_a_signature_may_be_stripped() -> None:
    octets = make_mail(_PAGE, b"DKIM-Signature: v=1;\r\n b=x")
    made = plan.plan(octets, plan.Settings(PUBLIC_URL, already_signed="strip"))
    result = made.render(octets, mint)
    assert b"DKIM" not in result
    assert b"b=x" not in result
    assert tracked(made) == ["https://a.example/"]


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (make_mail(_PAGE, encoding=b"x-uuencode"), "encoding:x-uuencode"),
        (make_mail(_PAGE, encoding=b"base64"), "base64"),
        (make_mail(_PAGE, type_=b"text/html; charset=utf-7"), "charset:utf-7"),
        (make_mail(_PAGE, type_=b"text/html; charset=utf-32"), "charset:utf-32"),
        (make_mail(_PAGE, type_=b"text/html; charset=cp037"), "charset:cp037"),
        (make_mail(_PAGE, type_=b"text/html; charset=nosuch"), "charset:nosuch"),
        (make_mail(b"\xff\xfe<\x00"), "charset:utf-8"),
        (make_mail(b"\x1b$B<a\x1b(B"), "charset:utf-8"),
        (make_mail(_PAGE + b"\x00"), "nul"),
        (make_mail(b""), "empty"),
        (b"Content-Type: text/html\r\n", "empty"),
        (make_mail(_PAGE.replace(b"\r\n", b"\n")), "line_ends"),
        (make_mail(b"<title/>" + _PAGE), "parsers_disagree"),
        (make_mail(b"<svg><desc><p>" + _PAGE), "foreign_content"),
        (make_mail(b"<pre>\r\n-----BEGIN PGP MESSAGE-----\r\n" + _PAGE), "pgp_armour"),
        (make_mail(_PAGE, type_=b"application/pkcs7-mime"), "pkcs7"),
        (make_mail(_PAGE, type_=b"text/x-amp-html"), "no_html"),
        (make_mail(_PAGE, b"Content-Disposition: attachment"), "no_html"),
        (multipart(b"mixed", b"Content-Type: message/rfc822\r\n\r\n" + make_mail(_PAGE)), "no_html"),
    ],
)
def test_what_is_in_doubt_passes_as_it_came_and_says_why(octets: bytes, reason: str) -> None:
    made = plan.plan(octets, SETTINGS)
    assert made.is_untouched
    assert made.reasons == (reason,)
    assert made.render(octets, mint).endswith(octets)


def test_a_text_sealed_by_pgp_seals_the_page_beside_it() -> None:
    armour = b"Content-Type: text/plain\r\n\r\n-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n"
    octets = multipart(b"alternative", armour, b"Content-Type: text/html\r\n\r\n" + _PAGE)
    assert plan.plan(octets, SETTINGS).is_untouched


def test_double_byte_text_that_looks_like_markup_is_not() -> None:
    octets = make_mail(b"<p>" + "買い物＜＞".encode("iso-2022-jp") + _PAGE, type_=b"text/html; charset=ISO-2022-JP")
    made = plan.plan(octets, SETTINGS)
    assert tracked(made) == ["https://a.example/"]
    assert "買い物＜＞".encode("iso-2022-jp") in made.render(octets, mint)


@pytest.mark.parametrize(
    ("page", "before"),
    [
        (b"<html><body>x</body></html>\r\n", b"</body></html>\r\n"),
        (b"<body>x</body><!-- </body> -->", b"</body><!-- </body> -->"),
        (b"<body>x</BODY ><p>footer</p>", b"</BODY ><p>footer</p>"),
        (b"<body>a</body>b</body>c", b"</body>c"),
        (b"<html><p>x</html>", b"</html>"),
        (b"<p>x</p>\r\n\r\n", b"\r\n\r\n"),
        (b"<p>x", b""),
        (b"<template></body></template>", b""),
        (b"<title>x</title><p>y</p>\r\n", b"\r\n"),
        # White space before any body belongs to the head; the pixel would make it the body's.
        (b"<title>x</title>\r\n", b""),
        (b" \r\n", b""),
    ],
)
def test_the_pixel_stands_before_the_end_of_the_body(page: bytes, before: bytes) -> None:
    octets = make_mail(page)
    made = plan.plan(octets, SETTINGS)
    assert made.pixels == 1
    assert made.render(octets, mint).endswith(b'height:1px">' + before)


@pytest.mark.parametrize("page", [b"<p><!-- x", b"<style>", b"<p><a href='x", b"<plaintext>", b"x</", b"<template>"])
def test_there_is_no_pixel_inside_a_construct(page: bytes) -> None:
    made = plan.plan(make_mail(page), SETTINGS)
    assert (made.pixels, made.reasons) == (0, ("no_place_for_pixel",))


@pytest.mark.parametrize("column", [0, 10, 500, 850, 900, 960, 990])
def test_no_line_over_998_octets_is_made(column: int) -> None:
    page = (
        b"<p>" + b"x" * column + b"".join(b'<a class="x" href="https://a.example/%d" id=y>z</a>' % n for n in range(9))
    )
    page = b"\r\n".join(page[at : at + 998] for at in range(0, len(page), 998)) + b"</p>"
    octets = make_mail(page)
    made = plan.plan(octets, SETTINGS)
    result = made.render(octets, mint)
    assert max(len(line) for line in result.split(b"\r\n")) <= 998
    assert made.pixels == 1
    assert len(tracked(made)) == 9
    assert b"\r\n".join(octets.split(b"\r\n")[:-1]) in made.render(octets, mint, tracked=False)


def test_lines_inside_base64_may_be_of_any_length() -> None:
    page = b"<body>" + b"x" * 940 + b'<a href="https://a.example/">x</a></body>'
    octets = make_mail(base64.encodebytes(page).replace(b"\n", b"\r\n"), encoding=b"base64")
    made = plan.plan(octets, SETTINGS)
    assert (made.reasons, made.pixels) == ((), 1)
    body = made.render(octets, mint).partition(b"\r\n\r\n")[2]
    assert max(len(line) for line in body.split(b"\r\n")) <= 76


def test_an_href_over_several_lines_is_no_obstacle() -> None:
    octets = make_mail(
        b"<body>" + b"x" * 900 + b'<a href="https://a.example/\r\nb\r\nc">x</a>' + b"y" * 900 + b"</body>"
    )
    made = plan.plan(octets, SETTINGS)
    assert tracked(made) == ["https://a.example/bc"]
    assert max(len(line) for line in made.render(octets, mint).split(b"\r\n")) <= 998


def test_a_fault_of_ours_passes_the_mail_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*_: object, **__: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(instrument, "instrument_parts", stumble)
    octets = make_mail(_PAGE, b"X-Waypost-Tag: a\r\nBcc: secret@example.com")
    settings = plan.Settings(PUBLIC_URL, unsubscribe_header="off", prepended_fields=(b"Received: x\r\n",))
    made = plan.plan(octets, settings)
    assert made.reasons == ("fault:KeyError",) and made.control.tags == ("a",)
    # What must not be passed on is not, and the rest is as it came.
    wanted = octets.replace(b"X-Waypost-Tag: a\r\n", b"").replace(b"Bcc: secret@example.com\r\n", b"")
    assert made.render(octets, mint) == b"Received: x\r\n" + wanted
    monkeypatch.setattr(display_fields, "read_display_fields", stumble)
    assert plan.plan(octets, settings).render(octets, mint) == b"Received: x\r\n" + octets


def test_an_edit_that_changes_more_than_it_should_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    real = instrument.instrument_parts

    def careless(*arguments: object, **keywords: object) -> instrument.BodyEdits:
        found = real(*arguments, **keywords)  # type: ignore[arg-type]
        found.templates = [
            draft.__class__(draft.start - 1, draft.end, draft.pieces, draft.why) for draft in found.templates
        ]
        return found

    monkeypatch.setattr(instrument, "instrument_parts", careless)
    made = plan.plan(make_mail(_PAGE), SETTINGS)
    assert made.reasons == ("verify_failed",)
    assert made.is_untouched


@given(
    st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"a"]), max_size=8).map(b"".join), st.sampled_from([1, 2, 3, 100])
)
def test_only_crlf_is_neither_a_lone_cr_nor_a_lone_lf(octets: bytes, window: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_ends, "_WINDOW", window)
        rest = octets.replace(b"\r\n", b"")
        assert line_ends.has_only_crlf(octets) == (b"\r" not in rest and b"\n" not in rest)


_LINES = st.lists(st.sampled_from([b"\r\n", b"a", b"."]), max_size=8).map(b"".join)
_OCTETS = st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"a"]), max_size=5).map(b"".join)


@given(_LINES, _OCTETS, st.integers(0, 12), st.integers(0, 12))
def test_a_changed_copy_is_looked_at_up_to_the_last_change(
    original: bytes, new: bytes, start: int, length: int
) -> None:
    start = min(start, len(original))
    end = min(start + length, len(original))
    copy = original[:start] + new + original[end:]
    rest = copy.replace(b"\r\n", b"")
    is_clean = b"\r" not in rest and b"\n" not in rest
    assert line_ends.still_has_only_crlf(copy, original, end) == is_clean
