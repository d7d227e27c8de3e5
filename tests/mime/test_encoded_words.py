"""Encoded words (RFC 2047) as programs really write them."""

from email.header import Header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.mime.encoded_words import decode_words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"plain", "plain"),
        (b"=?utf-8?B?SGVyYnN0?=", "Herbst"),
        # As Mail.ru writes it, whole and cut in the middle of a character.
        (b"=?utf-8?B?0J/QuNGB0YzQvNC+INC90LUg0LTQvtGB0YLQsNCy0LvQtdC90L4=?=", "Письмо не доставлено"),
        (
            b"=?utf-8?b?0JLQsNGI0LUg0YHQvtC+0LHRidC10L3QuNC1INC90LUg0LTQvtGB0YLQsNCy0LvQ?="
            b"\t=?utf-8?b?tdC90L4uIE1haWwgZmFpbHVyZS4=?=",
            "Ваше сообщение не доставлено. Mail failure.",
        ),
        (b"=?UTF-8?B?w7zD?= =?utf-8?Q?=BC?=", "üü"),
        (b"=?utf-8?q?Mail delivery failed: returning to sender?=", "Mail delivery failed: returning to sender"),
        (b"=?utf-8?q?What??= =?utf-8?q?_Who=3F?=", "What? Who?"),
        (b"=?iso-8859-1*de?Q?Unzustellbar=3A_R=FCckl=E4ufer?=", "Unzustellbar: Rückläufer"),
        (b"=?gb2312?B?1sPG8A==?=", "置起"),
        (b"=?gb2312?Q?=D6=EC=E9=46=BB=F9?=", "朱镕基"),  # 镕 is of GBK: text that is labelled gb2312 often is
        (b"=?gbk?Q?=81=39=EF=30?=", "㐁"),  # of GB 18030
        (b"=?iso-8859-1?Q?100_=80?=", "100 €"),
        (b"=?us-ascii?Q?M=C3=BCller?=", "Müller"),
        (b"=?ISO-2022-JP?B?GyRCR2MkJEoqGyhC?=", "買い物"),
    ],
)
def test_a_word_is_read_as_its_writer_meant_it(value: bytes, text: str) -> None:
    assert decode_words(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"=?utf-8?q?gr=C3=BCn?= und =?utf-8?q?rot?=", "grün und rot"),
        (b"a =?utf-8?q?b?=  =?koi8-r?q?c?= d", "a bc d"),
        (b"=?utf-8?q?a?==?utf-8?q?b?=", "ab"),
        (b"(=?utf-8?q?a?=)", "(a)"),
        (b"=?utf-8?q??=x", "x"),
        (b"ann =?utf-8?q?never closed", "ann =?utf-8?q?never closed"),
        (b"=?utf-8?q?never closed =?utf-8?q?ok?=", "=?utf-8?q?never closed ok"),
        (b"=?utf-\xe98?q?x?=", "=?utf-é8?q?x?="),
        (b"raw \xc3\xbc =?utf-8?q?=C3=BC?= \xfc", "raw ü ü ü"),
    ],
)
def test_what_stands_outside_of_words_stays_as_it_is(value: bytes, text: str) -> None:
    assert decode_words(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"=?nosuch?q?Undelivered_mail?=", "Undelivered mail"),
        (b"=?x-unknown?q?=C3=BC?=", "ü"),
        (b"=?x-unknown?q?R=FCck?=", "Rück"),
        (b"=?utf-8?q?R=FCck?= =?utf-8?q?=C3=BC?=", "Rückü"),  # each by itself, where they are nothing together
        (b"=?punycode?q?a-kb2a?=", "a-kb2a"),
        (b"=?utf-8?B?a?=", "=?utf-8?B?a?="),
        (b"=?utf-8?b?!!!?= =?utf-8?q?b?=", "=?utf-8?b?!!!?= b"),
        (b"=?utf-8?b?SGVyYnN0a?=", "Herbst"),
        (b"=?utf-8?x?a?=", "=?utf-8?x?a?="),
    ],
)
def test_what_is_damaged_is_read_as_far_as_it_can_be(value: bytes, text: str) -> None:
    assert decode_words(value) == text


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), max_size=200))
def test_what_a_mail_program_encodes_is_decoded(text: str) -> None:
    field = Header(text, "utf-8", maxlinelen=40).encode(linesep="").encode()
    assert decode_words(field) == text


@given(st.lists(st.sampled_from([b"=?", b"?=", b"utf-8", b"?q?", b"?b?", b"*en", b" ", b"=", b"?", b"\xff", b"YQ=="])))
def test_any_octets_are_some_text_that_can_be_written(parts: list[bytes]) -> None:
    assert decode_words(b"".join(parts)).encode() is not None
