"""Change octets at random: flips, cuts, repeats, splices of two seeds, and words that grammars know.

In: seeds and a `random.Random`.  Out: an input like them. The same state makes the same input.
"""

import random
from collections.abc import Callable, Sequence

MAX_OCTETS = 64 << 10
_WORDS = (
    *(b"\r\n", b"\n", b"\r", b"\0", b"\r\n.\r\n", b"\r\n\r\n", b"--", b"=\r\n", b"=?utf-8?q?", b"?=", b"\x1b$B", b"\xff\xfe"),
    *(b"<a href=", b"</a>", b"<!--", b"-->", b"<![if", b"</body>", b"&amp;", b"&#0;", b"<script>", b"<svg>", b"<template>"),
    *(b"Content-Type: multipart/mixed; boundary=b\r\n", b"Content-Transfer-Encoding: base64\r\n", b"DKIM-Signature: v=1\r\n"),
    *(b"MAIL FROM:<>\r\n", b"RCPT TO:<a@b.example>\r\n", b"DATA\r\n", b"RSET\r\n", b"AUTH PLAIN ", b"STARTTLS\r\n", b"EHLO x\r\n"),
    *(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 99999999999\r\n", b"%00", b"../"),
    *("\N{RIGHT-TO-LEFT OVERRIDE}".encode(), "é".encode(), b"\xed\xa0\x80", b"9" * 30, b"A" * 1000, b"(" * 200),
)  # fmt: skip


def mutate(seeds: Sequence[bytes], source: random.Random) -> bytes:
    """A seed with one to eight changes."""
    octets = source.choice(seeds)
    for _ in range(source.choice((1, 1, 2, 2, 3, 5, 8))):
        octets = source.choice(_CHANGES)(octets, seeds, source)
    return octets[:MAX_OCTETS]


def _span(octets: bytes, source: random.Random) -> tuple[int, int]:
    start = source.randint(0, len(octets))
    return start, min(len(octets), start + source.choice((1, 2, 4, 16, 64, 512, 4096)))


def _flip(octets: bytes, seeds: Sequence[bytes], source: random.Random) -> bytes:
    at = source.randint(0, len(octets))
    return octets[:at] + bytes([source.randrange(256)]) + octets[at + 1 :]


def _cut(octets: bytes, seeds: Sequence[bytes], source: random.Random) -> bytes:
    start, end = _span(octets, source)
    return octets[:start] + octets[end:]


def _repeat(octets: bytes, seeds: Sequence[bytes], source: random.Random) -> bytes:
    start, end = _span(octets, source)
    return octets[:end] + octets[start:end] * source.choice((1, 2, 8)) + octets[end:]


def _insert_word(octets: bytes, seeds: Sequence[bytes], source: random.Random) -> bytes:
    at = source.randint(0, len(octets))
    return octets[:at] + source.choice(_WORDS) + octets[at:]


def _splice(octets: bytes, seeds: Sequence[bytes], source: random.Random) -> bytes:
    other = source.choice(seeds)
    return octets[: source.randint(0, len(octets))] + other[source.randint(0, len(other)) :]


def _swap_lines(octets: bytes, seeds: Sequence[bytes], source: random.Random) -> bytes:
    lines = octets.splitlines(keepends=True)
    if len(lines) > 1:
        a, b = source.randrange(len(lines)), source.randrange(len(lines))
        lines[a], lines[b] = lines[b], lines[a]
    return b"".join(lines)


_Change = Callable[[bytes, Sequence[bytes], random.Random], bytes]
_CHANGES: tuple[_Change, ...] = (_flip, _flip, _cut, _repeat, _insert_word, _insert_word, _splice, _swap_lines)


def shrink(octets: bytes, fails: Callable[[bytes], bool]) -> bytes:
    """A smaller input that fails too: pieces are left out, as long as that succeeds."""
    size = len(octets) // 2
    while size:
        at = 0
        while at < len(octets):
            smaller = octets[:at] + octets[at + size :]
            if fails(smaller):
                octets = smaller
            else:
                at += size
        size //= 2
    return octets
