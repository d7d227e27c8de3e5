"""Mail of 8 bits made into mail of 7.

Invariants, over any tree of parts: *the bodies are of 7 bits*; *the parts are the same, and each decodes to what
it was*; *no line is over 998 octets*; *what is of 7 bits already is not touched*; *any octets: a message or a
NotConvertible*.
"""

import base64
import contextlib
import email
import email.policy
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.mime import parts, transfer_encoding
from relay.rewrite import seven_bit_conversion

_TEXT = st.lists(
    st.text(st.sampled_from("abc =.-F \t\u00e9\u6771\u20ac"), max_size=120).map(lambda line: line.encode()), max_size=8
).map(b"\r\n".join)
_OCTETS = st.binary(max_size=300)
_HEADERS = st.sampled_from(
    [
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n",
        b"Content-Type: text/html; charset=utf-8\r\n",
        b"content-transfer-encoding:  8BIT \r\nContent-Type: text/plain\r\nX-Name: \xc3\xa9\r\n",
        b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n",
        b"Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n",
        b"",
    ]
)


def _joined(children: list[bytes], beside: bytes) -> bytes:
    boundary = b"b%d" % sum(map(len, children))
    inner = b"".join(b"--" + boundary + b"\r\n" + child + b"\r\n" for child in children)
    head = b"Content-Type: multipart/mixed; boundary=" + boundary + b"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    return head + beside + b"\r\n" + inner + b"--" + boundary + b"--\r\n" + beside


_LEAVES = st.builds(lambda header, body: header + b"\r\n" + body, _HEADERS, _TEXT | _OCTETS)
_FORWARDED = st.builds(
    lambda inner: b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: x\r\n" + inner,
    _LEAVES,
)
_TREES = st.recursive(
    _LEAVES | _FORWARDED,
    lambda children: st.builds(
        _joined, st.lists(children, min_size=1, max_size=3), st.sampled_from([b"", b"pr\xc3\xa9"])
    ),
    max_leaves=6,
)
_MESSAGES = _TREES.map(lambda tree: b"From: a@b.example\r\nMIME-Version: 1.0\r\n" + tree + b"\r\n")


def _bodies(octets: bytes) -> list[tuple[str, bytes]]:
    """Type and decoded body of every leaf, as Python's parser reads them; it is not ours."""
    found = []
    for part in email.message_from_bytes(octets, policy=email.policy.compat32).walk():
        assert isinstance(part, Message)
        if not part.is_multipart():
            found.append((part.get_content_type(), part.get_payload(decode=True)))
    return found  # type: ignore[return-value]


def _decoded(octets: bytes, part: parts.Part) -> bytes:
    body = octets[part.body : part.end]
    if part.encoding == "base64":
        return base64.b64decode(body)
    # What is no escape stands for itself; with octets of 8 bits beside it, readers agree on nothing.
    return transfer_encoding.from_quoted_printable(body).octets if part.encoding == "quoted-printable" else body


@given(_MESSAGES)
def test_each_part_decodes_to_what_it_was_and_is_of_seven_bits(octets: bytes) -> None:
    try:
        made = seven_bit_conversion.convert(octets)
    except seven_bit_conversion.NotConvertibleError:
        return
    before, after = parts.walk_parts(octets), parts.walk_parts(made)
    assert [(one.type, one.parent) for one in before] == [(one.type, one.parent) for one in after]
    parents = {part.parent for part in after}
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        if index not in parents and new.type != "message/rfc822":
            body = made[new.body : new.end]
            assert body.isascii()
            if not octets[old.body : old.end].isascii():
                assert new.encoding in ("quoted-printable", "base64")
                assert max(map(len, body.split(b"\r\n"))) <= 76
                assert _decoded(made, new) == _decoded(octets, old)
            else:
                assert body == octets[old.body : old.end]


@pytest.mark.parametrize("text", ["Grüße\r\n", "é" * 500 + "\r\n", "Zeile mit Ende \r\n.\r\nFrom x\r\né \r\n"])
def test_another_parser_reads_the_same(text: str) -> None:
    octets = (
        "From: a@b.example\r\nSubject: x\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/mixed; boundary=outer\r\nContent-Transfer-Encoding: 8bit\r\n\r\npréambule\r\n"
        "--outer\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        f"{text}\r\n"
        "--outer\r\nContent-Type: application/x-own; name=x\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        f"{text}\r\n"
        "--outer\r\nContent-Type: text/plain\r\n\r\nonly seven \r\n"
        "--outer\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        f"Subject: inner\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n"
        "--outer--\r\n"
    ).encode()
    made = seven_bit_conversion.convert(octets)
    assert made.isascii() and b"8bit" not in made
    assert max(map(len, made.split(b"\r\n"))) <= 78
    assert _bodies(made) == _bodies(octets)
    assert b"\r\n\r\nonly seven \r\n--outer" in made


def test_mail_of_seven_bits_is_not_touched_and_header_fields_stay_as_they_are() -> None:
    plain = b"From: a@b.example\r\nContent-Transfer-Encoding: 8bit\r\n\r\nseven\r\n"
    assert seven_bit_conversion.convert(plain) == plain
    header = b"Subject: Gr\xc3\xbc\xc3\x9fe\r\n\r\nseven\r\n"
    assert seven_bit_conversion.convert(header) == header
    both = seven_bit_conversion.convert(
        b"Subject: Gr\xc3\xbc\xc3\x9fe\r\n\r\nGr\xc3\xbc\xc3\x9fe, and some more words\r\n"
    )
    assert both == (
        b"Subject: Gr\xc3\xbc\xc3\x9fe\r\nContent-Transfer-Encoding: quoted-printable\r\nMIME-Version: 1.0\r\n\r\n"
        b"Gr=C3=BC=C3=9Fe, and some more words\r\n"
    )


@pytest.mark.parametrize(
    ("type_", "reason"),
    [
        ("multipart/signed; boundary=b", "signed"),
        ("multipart/encrypted; boundary=b", "encrypted"),
        ("application/pkcs7-mime", "pkcs7"),
        ("message/partial; id=x; number=1", "message/partial"),
        ("multipart/mixed; boundary=c", "missing_boundary"),
    ],
)
def test_what_is_sealed_or_cannot_be_read_is_not_converted(type_: str, reason: str) -> None:
    octets = f"MIME-Version: 1.0\r\nContent-Type: {type_}\r\n\r\n--b\r\n\r\né\r\n--b--\r\n".encode()
    with pytest.raises(seven_bit_conversion.NotConvertibleError, match=reason):
        seven_bit_conversion.convert(octets)


@given(st.binary(max_size=400))
def test_any_octets_have_an_answer(octets: bytes) -> None:
    with contextlib.suppress(seven_bit_conversion.NotConvertibleError):
        seven_bit_conversion.convert(octets)
