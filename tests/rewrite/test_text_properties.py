"""Texts of all kinds, with links: what holds for each of them.

Outside the edits every octet is the original's. With each tracking URL put back to where it leads, the text is
what it was: the same lines, the same paragraphs of format=flowed, the same quotes. Any octets have an answer.
"""

import base64
import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay.rewrite import plan
from tests.rewrite.mails import PUBLIC_URL, make_mail, mint, tracked, undone
from tests.rewrite.text_links import CLICK, SETTINGS, put_back, text_of

MARK = "{{waypost_unsubscribe_url}}"
LONG = f"https://c.example/{'long/' * 40}"
AT_THE_END = f"{LONG} https://a.example/ {LONG}<https://a.example/q.>{MARK}"  # its line has no room for the mark's URL
_URLS = st.sampled_from(
    [
        *("https://a.example/", "http://b.example/x_(y)?z=1&w=%20#f", LONG),
        *("https://keep.example/", "https://a.example/{{id}}", "<https://a.example/q.>", "<https://a.example/\r\nq>"),
        *(f"{MARK} ", "https://ä.example/", "https://"),
    ]
)
_WORDS = st.sampled_from(
    [
        *(" ", "  ", " \r\n", "\r\n", "\r\n\r\n", "\r\n> ", " \r\n> ", "\r\n>> ", "\r\n-- \r\n", "\r\n ", "\r\nFrom "),
        *("word", "é", "…", "(", ")", "[", "]", ".", ",", "'", '"', "<", ">", "*", "=", "=3D", "…", "x" * 70, "\t"),
    ]
)
_TEXTS = st.lists(st.one_of(_WORDS, _URLS), max_size=25).map("".join)
_FORMATS = st.sampled_from(["", "; format=flowed", "; format=flowed; delsp=yes"])


def _paragraphs(text: str, deletes_space: bool) -> list[tuple[int, str]]:
    """The text as a reader of format=flowed has it: quote depth and paragraph. RFC 3676 §4."""
    found: list[tuple[int, str]] = []
    is_open = False
    for line in text.split("\r\n"):
        bare = line.lstrip(">")
        depth, bare = len(line) - len(bare), bare.removeprefix(" ")
        flows = bare.endswith(" ") and bare != "-- "
        if is_open and found[-1][0] == depth and bare != "-- ":
            bare, (depth, before) = bare, found.pop()
            bare = before + bare
        found.append((depth, bare.removesuffix(" ") if flows and deletes_space else bare))
        is_open = flows
    return found


@settings(max_examples=300, deadline=None)
@given(_TEXTS, _FORMATS, st.sampled_from([b"8bit", b"quoted-printable", b"base64"]), st.integers(20, 76))
@example("word " * 180 + "{{waypost_unsubscribe_url}} " + "word " * 12, "; format=flowed", b"8bit", 20)
@example("word " * 180 + "{{waypost_unsubscribe_url}} " + "word " * 12, "; format=flowed; delsp=yes", b"8bit", 20)
@example(f"{AT_THE_END}  \r\nend", "", b"8bit", 20)
@example(f"{AT_THE_END} ", "; format=flowed", b"8bit", 20)
def test_with_its_urls_put_back_the_text_is_what_it_was(text: str, format_: str, encoding: bytes, width: int) -> None:
    type_ = f"text/plain; charset=utf-8{format_}".encode()
    octets = make_mail(_encoded(text.encode(), encoding, width), type_=type_, encoding=encoding)
    made = plan.plan(octets, SETTINGS)
    assert not any(reason.startswith(("fault", "verify")) for reason in made.reasons)
    result = made.render(octets, mint)
    assert undone(octets, made.edits(octets, mint), result) == octets
    after = re.sub(rf"{PUBLIC_URL}/u/[\w-]+", "{{waypost_unsubscribe_url}}", text_of(result))
    before = text.replace("https://{{waypost", "{{waypost")
    if after.count("\r\n") > before.count("\r\n"):  # a mark finds room by a line end in a blank's place
        assert "{{waypost" in before and encoding == b"8bit"
        assert re.sub(r" *\r\n", " ", put_back(after)) == re.sub(r" *\r\n", " ", before)
    else:
        assert put_back(after) == before
    assert len(CLICK.findall(after)) == len(tracked(made))
    if format_:
        is_delsp = "delsp" in format_
        flowed = [(depth, put_back(words)) for depth, words in _paragraphs(after, is_delsp)]
        assert flowed == _paragraphs(before, is_delsp)
    if _widest(octets) <= 998:
        assert _widest(result) <= (998 if encoding == b"8bit" else 76)


def _widest(octets: bytes) -> int:
    return max(len(line) for line in octets.partition(b"\r\n\r\n")[2].split(b"\r\n"))


def _encoded(octets: bytes, encoding: bytes, width: int) -> bytes:
    """The octets in that encoding, in lines of that width, breaking wherever it comes."""
    if encoding == b"base64":
        code = base64.b64encode(octets)
        return b"\r\n".join(code[at : at + 76] for at in range(0, len(code), 76))
    if encoding == b"8bit":
        return octets
    lines = []
    for line in octets.split(b"\r\n"):
        codes = [b"=%02X" % c if c in b"=\t" or c > 126 else bytes([c]) for c in line]
        if codes and codes[-1] == b" ":
            codes[-1] = b"=20"
        out = column = 0
        written = b""
        for out, code in enumerate(codes):
            is_last = out == len(codes) - 1
            if column + len(code) > width - (not is_last):
                written, column = written + b"=\r\n", 0
            written, column = written + code, column + len(code)
        lines.append(written)
    return b"\r\n".join(lines)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.binary(max_size=200), st.lists(st.one_of(_URLS, _WORDS).map(str.encode), max_size=9).map(b"".join)),
    st.sampled_from([b"utf-8", b"iso-2022-jp", b"shift_jis", b"latin1", b"utf-16", b"nosuch"]),
    st.sampled_from([b"8bit", b"quoted-printable", b"base64"]),
)
def test_any_octets_have_an_answer(octets: bytes, charset: bytes, encoding: bytes) -> None:
    mail = make_mail(octets, type_=b"text/plain; format=flowed; delsp=yes; charset=" + charset, encoding=encoding)
    made = plan.plan(mail, SETTINGS)
    assert not any(reason.startswith(("fault", "verify")) for reason in made.reasons)
    assert undone(mail, made.edits(mail, mint), made.render(mail, mint)) == mail
