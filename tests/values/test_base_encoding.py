"""Base64url and base32hex: every octet string has one text, and every other text is refused."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import base_encoding, key_derivation


@given(st.binary(max_size=70))
def test_octets_come_back_from_their_text(octets: bytes) -> None:
    assert base_encoding.from_base64url(base_encoding.to_base64url(octets).decode()) == octets
    assert base_encoding.from_base32hex(base_encoding.to_base32hex(octets)) == octets


@given(st.text(st.characters(codec="utf-8"), max_size=20))
def test_text_that_is_read_is_the_only_spelling_of_its_octets(text: str) -> None:
    for read, write in (
        (base_encoding.from_base64url, lambda octets: base_encoding.to_base64url(octets).decode()),
        (base_encoding.from_base32hex, base_encoding.to_base32hex),
    ):
        try:
            octets = read(text)
        except ValueError:
            continue
        assert write(octets) == text


@pytest.mark.parametrize("text", ["AB", "AA==", "A", "A+==", "AAA/", "AA AA", "AAAÄ"])
def test_base64url_with_other_low_bits_padding_or_alphabet_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        base_encoding.from_base64url(text)


@pytest.mark.parametrize("text", ["01", "0G", "00======", "0", "0w", "0ä"])
def test_base32hex_with_other_low_bits_padding_or_alphabet_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        base_encoding.from_base32hex(text)


@given(st.lists(st.binary(min_size=10, max_size=10), min_size=2, max_size=2))
def test_base32hex_sorts_as_its_octets(two: list[bytes]) -> None:
    assert sorted(map(base_encoding.to_base32hex, two)) == [base_encoding.to_base32hex(one) for one in sorted(two)]


def test_a_derived_key_is_that_of_the_standard() -> None:
    # RFC 5869 appendix A.3: no salt. Its `info` is empty, as our purposes never are.
    key = key_derivation.derive_key(b"\x0b" * 22, b"", 42)
    assert base64.b16encode(key).decode().lower() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )
