"""Transfer encodings: what is decoded, where it lies, and what is written back."""

import base64
import binascii
import quopri

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay import edits
from relay.mime import charset, transfer_encoding
from relay.rewrite import edit_templates
from relay.rewrite.edit_templates import EditTemplate, TransferEncoding

_QP = st.lists(st.sampled_from([b"=3D", b"=\r\n", b"= \r\n", b"\r\n", b"=c3=A9", b"abc", b" ", b"=", b"=Z", b"."])).map(
    b"".join
)
_REGULAR_QP = st.lists(st.sampled_from([b"=3D", b"=c3", b"=\r\n", b"ab", b"c\r\n"])).map(b"".join)


@given(st.binary())
def test_quoted_printable_is_decoded(octets: bytes) -> None:
    encoded = quopri.encodestring(octets).replace(b"\n", b"\r\n")
    assert transfer_encoding.from_quoted_printable(encoded).octets == octets.replace(b"\n", b"\r\n")


def test_a_stray_equals_sign_stands_for_itself_and_a_last_one_for_nothing() -> None:
    assert transfer_encoding.from_quoted_printable(b"a=b =\t\r\n=4x=\r\n\xe9=").octets == b"a=b =4x\xe9"


@settings(max_examples=500)
@given(_QP | st.binary(max_size=60) | _REGULAR_QP)
def test_binascii_decodes_what_is_regular_as_we_do(encoded: bytes) -> None:
    assert transfer_encoding.from_quoted_printable(encoded).octets == transfer_encoding._decode_odd_escapes(encoded)


@settings(max_examples=500)
@given(_QP | _REGULAR_QP, st.sampled_from([0, 5, 4000]))
def test_the_map_of_soft_breaks_is_that_of_all_escapes(encoded: bytes, longest: int) -> None:
    text = transfer_encoding.from_quoted_printable(encoded)
    slow = transfer_encoding.QuotedPrintableText(text.octets, encoded, is_odd=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer_encoding, "_MAX_RUN", longest)
        for offset in range(len(text.octets) + 1):
            assert (text.start(offset), text.end(offset)) == (slow.start(offset), slow.end(offset))


@given(st.binary(max_size=200), st.integers(0, 300), st.integers(1, 255))
def test_one_changed_octet_is_no_base64_of_the_text(octets: bytes, at: int, change: int) -> None:
    code = transfer_encoding.to_base64(octets, 60)
    assert transfer_encoding.is_base64_of(b"\r\n" + code + b"\r\n", octets)
    assert not transfer_encoding.is_base64_of(code + b"AAAA", octets)
    if code:
        at %= len(code)
        wrong = code[:at] + bytes([(code[at] + change) % 256]) + code[at + 1 :]
        assert not transfer_encoding.is_base64_of(wrong, octets) or wrong.translate(None, b"\r\n") == code


@given(st.lists(st.sampled_from([0, 1, 500, 996, 997, 998, 999, 1000, 2500]), max_size=6), st.booleans())
def test_a_line_of_over_998_octets_is_seen_wherever_it_stands(lengths: list[int], ends_line: bool) -> None:
    octets = b"\r\n".join(b"x" * length for length in lengths) + b"\r\n" * ends_line
    is_long = any(length > 998 for length in lengths)
    assert transfer_encoding.has_long_line(b"y" + octets + b"z" * 2000, 1, 1 + len(octets)) == is_long


@settings(max_examples=500)
@given(_QP)
def test_the_map_leads_each_octet_back_to_its_own_code(encoded: bytes) -> None:
    text = transfer_encoding.from_quoted_printable(encoded)
    past = 0
    for offset, octet in enumerate(text.octets):
        start, end = text.start(offset), text.end(offset + 1)
        assert past <= start < end <= len(encoded)
        assert encoded[start:end] in (bytes((octet,)), b"=%02X" % octet, b"=%02x" % octet)
        past = end


def _between_lines(octets: bytes, at: int) -> int:
    """The place, but never inside a CRLF: no edit begins or ends there."""
    at = min(at, len(octets))
    return at + 1 if octets[at - 1 : at + 1] == b"\r\n" and at else at


@settings(max_examples=500)
@given(
    st.binary(max_size=400).map(lambda octets: octets.replace(b"\r", b"").replace(b"\n", b"\r\n")),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 9), st.integers(0, 300)), max_size=4),
    st.booleans(),
)
def test_edits_in_quoted_printable_decode_to_the_spliced_text_in_short_lines(
    octets: bytes, places: list[tuple[int, int, int]], ends_open: bool
) -> None:
    encoded = quopri.encodestring(octets.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n") + b"=" * ends_open
    text = transfer_encoding.from_quoted_printable(encoded)
    inner: list[EditTemplate] = []
    past = 0
    for at, taken, length in sorted(places):
        start = _between_lines(text.octets, max(at, past))
        past = _between_lines(text.octets, start + taken)
        inner.append(EditTemplate(start, past, ((b"ab=-.\xe9F" * length)[:length],), "test"))
    placed = tuple(
        EditTemplate(
            text.start(d.start),
            text.start(d.start) if d.start == d.end else text.end(d.end),
            d.pieces,
            d.why,
            TransferEncoding.QUOTED_PRINTABLE,
        )
        for d in inner
    )
    result = edits.splice(encoded, edit_templates.fill_templates(encoded, placed, lambda _: b""))
    expected = edits.splice(text.octets, edit_templates.fill_templates(text.octets, tuple(inner), lambda _: b""))
    assert transfer_encoding.from_quoted_printable(result).octets == expected
    assert max(len(line) for line in result.split(b"\r\n")) <= 76
    assert quopri.decodestring(result.replace(b"\r\n", b"\n")) == expected.replace(b"\r\n", b"\n")


@given(st.text("ab=é", max_size=300), st.integers(0, 90), st.integers(0, 90))
def test_wrapped_text_keeps_lines_at_76_octets_and_escapes_whole(text: str, column: int, tail: int) -> None:
    wrapped = transfer_encoding.to_quoted_printable(text.encode(), column, tail)
    assert transfer_encoding.from_quoted_printable(wrapped).octets == text.encode()
    first, *others = wrapped.split(b"\r\n")
    assert not others or max(len(line) for line in others) <= transfer_encoding.QP_LINE
    assert column + len(first) <= max(transfer_encoding.QP_LINE, column + 1)
    if tail and others:
        assert others[-1] == b"" or len(others[-1]) + tail <= transfer_encoding.QP_LINE


def test_no_line_begins_like_a_delimiter_or_a_lone_dot() -> None:
    wrapped = transfer_encoding.to_quoted_printable(b"--.." * 100 + b"x" + b"F-." * 50, 10, 0)
    assert all(line[:1] not in b".-F" or not set(line[:-1]) - set(b".-F") for line in wrapped.split(b"\r\n")[1:])


@given(st.binary(), st.sampled_from([4, 60, 64, 72, 76]), st.booleans())
def test_base64_is_written_as_it_came(octets: bytes, width: int, ends_line: bool) -> None:
    code = transfer_encoding.to_base64(octets, width)
    found = transfer_encoding.from_base64(b"\r\n" + code + b"\r\n" * ends_line)
    if not octets:
        assert found == (b"", 0, 0)
        return
    assert found == (octets, 2, 2 + len(code))
    if len(code) > width:
        assert transfer_encoding.base64_width(code) == width


@pytest.mark.parametrize("code", [b"YQ", b"YQ=", b"YQ==YQ==", b"YQ==\r\nfooter", b"Y!Q=", b"YQ== ", b"=", b"-- \r\n"])
def test_base64_that_readers_decode_differently_is_not_decoded(code: bytes) -> None:
    assert transfer_encoding.from_base64(code) is None


@pytest.mark.parametrize(
    ("code", "width"), [(b"YWJj", 76), (b"YWJj\r\nYWJj", 4), (b"YWJjYQ==", 76), (b"Y" * 1200 + b"\r\nYYYY", 76)]
)
def test_base64_lines_of_no_sound_width_become_76_wide(code: bytes, width: int) -> None:
    assert transfer_encoding.base64_width(code) == width


def test_base64_agrees_with_the_standard_library() -> None:
    octets = bytes(range(256)) * 3
    code = base64.encodebytes(octets).replace(b"\n", b"\r\n").rstrip()
    assert transfer_encoding.to_base64(octets, 76) == code
    assert binascii.a2b_base64(code) == octets


@pytest.mark.parametrize(
    "label",
    [
        "windows-874",
        "windows-31j",
        "windows-949",
        "x-cp1252",
        "iso88591",
        "iso885915",
        "ksc_5601",
        "gb_2312-80",
        "x-euc-jp",
        "koi8-ru",
        "'utf-8'",
        "DEFAULT",
    ],
)
def test_the_charsets_that_browsers_know_by_other_names_are_read(label: str) -> None:
    assert charset.find_codec(label, b"<p>plain") is not None


@pytest.mark.parametrize("label", ["utf-16", "utf-7", "hz", "nobody-knows", "default"])
def test_a_text_whose_charset_is_in_doubt_is_not(label: str) -> None:
    assert charset.find_codec(label, b"<p>\xe4") is None
