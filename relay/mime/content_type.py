"""Values of Content-Type, Content-Disposition and Content-Transfer-Encoding.

In: an unfolded field value.  Out: the first word in lower case and its parameters, or None where two
readers could take the value in two ways.  RFC 2045 §5.1 and §6.1, RFC 2183, RFC 2231 §3 and §4.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

_ATOM = r"[^\x00-\x20\x7f()<>@,;:\\\"/\[\]?=]+"
_MEDIA = re.compile(rf"\s*({_ATOM})\s*/\s*({_ATOM})\s*")
_WORD = re.compile(rf"\s*({_ATOM})\s*")
# Unquoted values are taken up to white space or semicolon: real boundaries hold `=`, `/` and `:` bare.
_PARAMETER = re.compile(rf"\s*;\s*(?:({_ATOM})\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s;\"]+))\s*)?(?=;|\Z)", re.DOTALL)
# `8bits`, `7-bit`, `"8bit"`, a charset's name, nothing at all: seen in real mail.
_PLAIN = re.compile(rb"\"?[78][ -]?bits?\"?|none|utf-?8|", re.IGNORECASE)
_COMMENT_MARK = re.compile(r"\\.|[()\"]", re.DOTALL)
_SECTION = re.compile(r"([^*]+)(?:\*(0|[1-9]\d{0,2}))?(\*)?")

_MAX_CACHED = 200  # octets


class Media(NamedTuple):
    """`name` is `type/subtype` or a single word; parameter names are lower case, values as Latin-1 text."""

    name: str
    parameters: Mapping[str, str]


def parse_content_type(value: bytes) -> Media | None:
    """The media type and its parameters; None for a malformed value or a parameter given twice."""
    return _parse_value(value, _MEDIA)


def parse_disposition(value: bytes) -> Media | None:
    """The disposition and its parameters; None as above."""
    return _parse_value(value, _WORD)


def parse_transfer_encoding(value: bytes) -> str | None:
    """The encoding's name in lower case; None for anything but one word. Readers disagree on `base64;`, and decode
    nothing in `8bit;` either. What can only mean that nothing is encoded is `8bit`: RFC 2045 §6.4 would make a file of
    it, but readers show it."""
    if _PLAIN.fullmatch(value.strip()):
        return "8bit"
    media = _parse_value(value, _WORD)
    if not media or media.parameters or (b";" in value and media.name not in ("7bit", "8bit", "binary")):
        return None
    return media.name


def _parse_value(value: bytes, head: re.Pattern[str]) -> Media | None:
    return _parse_cached(value, head) if len(value) <= _MAX_CACHED else _parse_uncached(value, head)


@lru_cache(maxsize=256)  # mail says the same again and again
def _parse_cached(value: bytes, head: re.Pattern[str]) -> Media | None:
    return _parse_uncached(value, head)


def _parse_uncached(value: bytes, head: re.Pattern[str]) -> Media | None:
    text = _without_comments(value.decode("latin-1"))
    found = head.match(text) if text is not None else None
    if text is None or found is None:
        return None
    raw: dict[str, str] = {}
    at = found.end()
    while at < len(text):
        parameter = _PARAMETER.match(text, at)
        if not parameter:
            return None
        at = parameter.end()
        name, quoted, bare = parameter.groups()
        if name is None:  # a semicolon too many
            continue
        if name.lower() in raw:
            return None
        raw[name.lower()] = re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL) if quoted is not None else bare
    parameters = _join_sections(raw)
    return None if parameters is None else Media("/".join(found.groups()).lower(), parameters)


def _without_comments(text: str) -> str | None:
    """The text with each RFC 822 comment made a space; None when one is left open."""
    if "(" not in text:
        return text
    out: list[str] = []
    text_from = depth = 0
    is_quoted = False
    for mark in _COMMENT_MARK.finditer(text):
        if mark[0] == '"' and not depth:
            is_quoted = not is_quoted
        elif mark[0] == "(" and not is_quoted:
            if not depth:
                out += text[text_from : mark.start()], " "
            depth += 1
        elif mark[0] == ")" and depth:
            depth -= 1
            text_from = mark.end()
    return None if depth else "".join(out) + text[text_from:]


def _join_sections(raw: dict[str, str]) -> dict[str, str] | None:
    """The parameters with the sections of RFC 2231 put together; None when they do not fit.

    The value of one is percent-decoded; its charset is not applied (we compare octets).
    """
    if not any("*" in name for name in raw):
        return raw
    plain: dict[str, str] = {}
    sections: dict[str, dict[int, str]] = {}
    for name, text in raw.items():
        found = _SECTION.fullmatch(name)
        if not found:
            return None
        base, number, is_extended = found[1], int(found[2] or 0), bool(found[3])
        if is_extended and number == 0:  # charset'language'text
            text = text.split("'", 2)[-1]
        if is_extended:
            text = unquote_to_bytes(text.encode("latin-1")).decode("latin-1")
        if name == base:
            plain[base] = text
        elif number in sections.setdefault(base, {}):
            return None
        else:
            sections[base][number] = text
    for base, parts in sections.items():
        if base in plain or sorted(parts) != list(range(len(parts))):
            # RFC 2231 wants the extended form to win, RFC 2045 readers see the plain one. A file's name
            # given in both ways is common and harmless.
            if base in ("name", "filename"):
                plain.setdefault(base, "?")
                continue
            return None
        plain[base] = "".join(parts[number] for number in range(len(parts)))
    return plain
