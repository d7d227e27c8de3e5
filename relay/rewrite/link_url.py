"""From an href's octets to the URL that a browser would ask for.

In: the text of an attribute value.  Out: the text with its character references resolved once, as a browser reads it;
its scheme, its host, and a form in which URLs can be compared.  WHATWG HTML §13.2.5.73 (attribute values), URL §4.4.
"""

import ipaddress
import re
from functools import lru_cache
from html.entities import html5
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from relay import domain_names

_REFERENCE = re.compile(r"&(?:#([0-9]+);?|#[xX]([0-9A-Fa-f]+);?|([A-Za-z][A-Za-z0-9]*)(;|(?![A-Za-z0-9=])))")
_C0_OR_SPACE = "".join(map(chr, range(0x21)))
_DROPPED = str.maketrans("", "", "\t\r\n")
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#\\]*)(?P<path>[^?#]*)(?P<query>\?[^#]*)?(?P<fragment>#.*)?", re.I | re.S
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_HOST = re.compile(r"(?:[^@]*@)?(\[[0-9A-Fa-f:.]+\]|[^:@\[\]]+)(?::(\d*))?")
_MAX_HOST = 1000  # characters, percent-encoded perhaps
# URL §3.5: no domain has one of these. `:`, `[` and `]` cannot come this far but percent-encoded.
_FORBIDDEN_IN_DOMAIN = re.compile(r"[\x00-\x20#%/:<>?@\[\\\]^|\x7f]")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_MAX_CACHED = 1000  # characters
_UNFIT = re.compile(r"[\x00-\x20\x7f]")


def decode_href(value: str) -> str:
    """The value as a browser holds it: references resolved by the rules for attributes, trimmed, and without
    TAB, CR and LF."""
    count = value.count("&")
    if count:
        plain = value.replace("&amp;", "&")  # as nearly all are; nothing else is resolved, and nothing twice
        is_plain = len(value) - len(plain) == count * (len("&amp;") - 1)
        value = plain if is_plain else _REFERENCE.sub(_decode_reference, value)
    return trim_url(value)


def trim_url(url: str) -> str:
    """The URL without the white space and controls that browsers drop (URL §4.4)."""
    url = url.strip(_C0_OR_SPACE)
    return url if url.isprintable() else url.translate(_DROPPED)


def _decode_reference(match: re.Match[str]) -> str:
    decimal, hexadecimal, name, close = match.groups()
    if name:
        # A name without its semicolon counts only if no `=`, letter or digit follows: `&copy=3` stays.
        return html5.get(name + close, match[0])
    digits = (decimal or hexadecimal).lstrip("0")
    code = int(digits or "0", 10 if decimal else 16) if len(digits) < 8 else 0x110000
    if not 0 < code < 0x110000 or 0xD800 <= code < 0xE000:
        return "\ufffd"
    if 0x80 <= code < 0xA0:  # §13.2.5.80: these numbers mean Windows-1252
        return bytes([code]).decode("cp1252", "ignore") or chr(code)
    return chr(code)


def find_scheme(url: str) -> str:
    """The URL's scheme in lower case; empty where it has none."""
    if url.startswith("https:"):  # as nearly all do
        return "https"
    found = _SCHEME.match(url)
    return found[1].lower() if found else ""


def with_scheme(url: str, name: str) -> str:
    """A URL like `//host/path` with that scheme, any other as it is (URL §4.3, scheme-relative)."""
    return f"{name}:{url}" if url.startswith("//") else url


class _UrlParts(NamedTuple):
    match: re.Match[str]
    authority: re.Match[str]  # host and port in it
    host: str  # ASCII, lower case, without final dot


def _split_bounded(url: str) -> _UrlParts | None:
    """An http(s) URL taken apart; None if it has no host."""
    return _split_cached(url) if len(url) <= _MAX_CACHED else _split_url(url)


@lru_cache(maxsize=1024)  # asked several times about each URL; and the same links go to many
def _split_cached(url: str) -> _UrlParts | None:
    return _split_url(url)


def _split_url(url: str) -> _UrlParts | None:
    found = _URL.fullmatch(url)
    authority = _HOST.fullmatch(found["authority"]) if found else None
    name = (_ascii_host(authority[1]) or "").rstrip(".") if authority else ""
    return _UrlParts(found, authority, name) if found and authority and name else None


def find_host(url: str) -> str:
    """The host of an http(s) URL in its ASCII form, lower case, without port and final dot; empty if there is none."""
    parts = _split_bounded(url)
    return parts.host if parts else ""


def host_and_port(url: str) -> tuple[str, str]:
    """Host and port of an http(s) URL."""
    parts = _split_bounded(url)
    if not parts:
        return "", ""
    return parts.host, parts.authority[2] or {"http": "80", "https": "443"}[parts.match["scheme"].lower()]


def normalize_url(url: str) -> str:
    """The URL with scheme and authority in lower case (RFC 3986 §6.2.2.1), for comparison only."""
    parts = _split_bounded(url)
    cut = parts.match.end("authority") if parts else 0
    return url[:cut].lower() + url[cut:]


def to_location(url: str, codec: str) -> bytes | None:
    """The octets of the Location header that leads where this http(s) URL leads; None if it leads nowhere.

    ASCII stays octet for octet, but for white space and controls, which are percent-encoded. Else the host goes
    by IDNA, path and fragment by UTF-8, and the query by the document's charset, as browsers do (URL §4.4).
    """
    parts = _split_bounded(url)
    if not parts:
        return None
    if url.isascii():
        if url.isprintable() and " " not in url:
            return url.encode("ascii")
        return _UNFIT.sub(lambda c: f"%{ord(c[0]):02X}", url).encode("ascii")
    found = parts.match
    userinfo, at, hostport = found["authority"].rpartition("@")
    named = _HOST.fullmatch(hostport)
    if not named:
        return None
    authority = (
        _percent(userinfo, "utf-8") + at.encode() + hostport.replace(named[1], _ascii_host(named[1]) or "", 1).encode()
    )
    return b"".join(
        (
            found["scheme"].encode() + b"://" + authority,
            _percent(found["path"], "utf-8"),
            _percent(found["query"] or "", codec),
            _percent(found["fragment"] or "", "utf-8"),
        )
    )


def _percent(part: str, codec: str) -> bytes:
    return b"".join(c.encode() if "!" <= c <= "~" else _percent_one(c, codec) for c in part)


def _percent_one(character: str, codec: str) -> bytes:
    # URL §1.3: what the document's charset lacks goes as a character reference.
    octets = character.encode(codec, "ignore")
    if not octets:
        return b"%%26%%23%d%%3B" % ord(character)
    return b"".join(b"%%%02X" % octet for octet in octets)


def _ascii_host(name: str) -> str | None:
    """The host as a browser asks for it, in lower case and A-labels; None for one that no browser opens (URL §3.5)."""
    if name.startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(name[1:-1])}]"
        except ValueError:
            return None
    if len(name) > _MAX_HOST:
        return None
    if "%" in name:
        try:
            name = unquote_to_bytes(name).decode()
        except UnicodeDecodeError:
            return None
    domain = domain_names.to_ascii(name)
    if not domain or _FORBIDDEN_IN_DOMAIN.search(domain):
        return None
    last = domain.removesuffix(".").rpartition(".")[2]
    if last[:1].isdigit() and _NUMBER.fullmatch(last) and not _is_ipv4(domain.removesuffix(".")):
        return None
    return domain


def _is_ipv4(domain: str) -> bool:
    """True if the URL standard's IPv4 parser takes it: of one to four numbers the last fills what is left (§3.5)."""
    numbers = domain.split(".")
    if len(numbers) > 4 or not all(_NUMBER.fullmatch(number) for number in numbers):
        return False
    try:
        values = [_ipv4_number(number) for number in numbers]
    except ValueError:
        return False
    return all(value < 256 for value in values[:-1]) and values[-1] < 256 ** (5 - len(values))


def _ipv4_number(number: str) -> int:
    """Raises ValueError for an octal number with an 8 or 9."""
    if number[:2] in ("0x", "0X"):
        return int(number[2:] or "0", 16)
    return int(number, 8 if len(number) > 1 and number[0] == "0" else 10)
