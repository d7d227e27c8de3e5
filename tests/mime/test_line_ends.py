"""Whether all lines end in CRLF, whatever stands where."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.mime import line_ends

ANY_LINES = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"\xe4", b"\x85", b"\0"])).map(b"".join)
BLOCK = 1 << 17  # octets that are looked at together


@given(ANY_LINES)
def test_a_lone_cr_and_a_lone_lf_are_found(octets: bytes) -> None:
    assert line_ends.has_only_crlf(octets) == (not re.search(rb"\r(?!\n)|(?<!\r)\n", octets))


@pytest.mark.parametrize("before", range(BLOCK - 3, BLOCK + 2))
@pytest.mark.parametrize(("end", "is_crlf"), [(b"\r\n", True), (b"\r", False), (b"\n", False), (b"\n\r", False)])
def test_also_between_two_blocks(before: int, end: bytes, is_crlf: bool) -> None:
    assert line_ends.has_only_crlf(b"a" * before + end + b"b" * 10) is is_crlf
