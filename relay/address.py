"""Paths and mailboxes of the SMTP envelope.  RFC 5321 §4.1.2, §4.1.3, RFC 6531 §3.3.

A mailbox is kept as the text that the client gave, without angle brackets, source route and the domain's final dot;
the null reverse-path is the empty string. Nothing is decoded: the envelope is not a header. One mailbox may be
spelled in several ways; `canonical` gives the one under which it is known here.
"""

import fnmatch
import ipaddress
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, NewType

from relay import domain_names

Mailbox = NewType("Mailbox", str)
NULL = Mailbox("")
MAX_LOCAL_PART, MAX_DOMAIN = 256, 255  # octets

# RFC 5321 §4.1.2 with RFC 6531 §3.3: every octet above ASCII may stand where an atext or a qtext may.
# Sets of what is not among them: one that names all characters beyond ASCII takes a twentieth of a second to compile.
_ATEXT = r"[^\x00-\x20\"(),.:;<>@\[\\\]\x7f]"  # letters, digits, !#$%&'*+-/=?^_`{|}~, and all beyond ASCII
# Real addresses carry stray dots (`a..b@docomo.example`); the receiver decides, not we.
_LOOSE_DOT_STRING = rf"(?:{_ATEXT}|\.)+"
_QUOTED = r'"(?:[^\x00-\x1f"\\\x7f]|\\[\x20-\x7e])*"'
_QUOTED_WORD = re.compile(r'"((?:[^"\\]|\\.)*+)"')
_LABEL_CHARACTER = r"[^\x00-/:-@\[-`{-\x7f]"  # or digit, and all beyond ASCII
_INNER, _LAST = r"[^\x00-,./:-@\[-^`{-\x7f]", r"[^\x00-/:-@\[-^`{-\x7f]"  # with - and _; with _
_LABEL = rf"{_LABEL_CHARACTER}(?:{_INNER}*{_LAST})?"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*\.?|\[[A-Za-z0-9:.\-]+\])"
_ASCII_DOMAIN = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*+")
_MAILBOX = re.compile(rf"(?P<local>{_LOOSE_DOT_STRING}|{_QUOTED})@(?P<domain>{_DOMAIN})")
_BARE_LOCAL = re.compile(rf"{_LOOSE_DOT_STRING}")
_ROUTE = re.compile(rf"@{_DOMAIN}(?:,@{_DOMAIN})*:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_STRING = r'"(?:[^"\\]|\\.)*+"'  # may hold `>`, `<` and spaces
# Words before the bracket: what clients take over from a header field. None that could be an address or a parameter.
_DISPLAY_NAME = re.compile(rf"(?:[^\"<>@=\\:,;]|{_STRING})*+<")
_BRACKETED = re.compile(rf"\A{_DISPLAY_NAME.pattern}(?P<twice><)?(?P<path>(?:[^\"<>]|{_STRING})*+)>(?(twice)>)")
_BARE = re.compile(rf"\A(?:[^\"<> \t]|{_STRING})++")
# An address in brackets that has nothing to be forgiven; no domain with two hyphens in a row.
_PLAIN_PATH = re.compile(
    r" {0,10}<((?=[^@]{1,64}@)[A-Za-z0-9_+=-]++(?:\.[A-Za-z0-9_+=-]++)*+@"
    r"(?=[^>]{1,200}>)[A-Za-z0-9]++(?:[.-][A-Za-z0-9]++)*+)>"
)
_PARAMETER = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9-]*)(?:=(?P<value>[\x21-\x3c\x3e-\x7e\u0080-\U0010ffff]+(?:=[\x21-\x7e]*)?))?"
)


class Path(NamedTuple):
    """What followed `MAIL FROM:` or `RCPT TO:`."""

    mailbox: Mailbox
    parameters: dict[str, str]  # upper-case names; "" for a parameter without a value


class PathSyntaxError(ValueError):
    """The client's path or parameters are not of RFC 5321's form."""


class ParameterSyntaxError(PathSyntaxError):
    """It is the parameters."""


def parse_plain_path(text: str) -> Path | None:
    """What `parse_path` returns for a path as nearly all are written, an ASCII address in brackets; None for others."""
    found = _PLAIN_PATH.match(text)
    if found is None:
        return None
    end = found.end()
    if end == len(text):
        return Path(Mailbox(found[1]), {})
    return Path(Mailbox(found[1]), _parse_parameters(text[end:])) if text[end] == " " and text.isprintable() else None


def parse_path(text: str) -> Path:
    """The path and its ESMTP parameters.

    What clients write and Postfix takes is forgiven: white space before the path, in its brackets and around the @,
    brackets that are missing or doubled, quotes round the whole address, a display name before it. Raises
    PathSyntaxError with a sentence for the client.
    """
    text = text.strip(" \t")
    if _CONTROL.search(text):
        raise PathSyntaxError("control characters are not allowed")
    if found := _BRACKETED.match(text):
        inner = found["path"].strip(" \t")
        if '"' not in inner:
            inner = "@".join(part.strip(" \t") for part in inner.split("@"))
    elif "<" in text and _DISPLAY_NAME.match(text):
        raise PathSyntaxError("the path has no closing angle bracket")
    elif not (found := _BARE.match(text)):
        raise PathSyntaxError("the address is malformed" if text else "no path given")
    else:
        inner = found[0]
    rest = text[found.end() :]
    if rest and not rest.startswith((" ", "\t")):
        raise PathSyntaxError("no space between path and parameters")
    return Path(_read_mailbox(inner), _parse_parameters(rest))


def parse_mailbox(text: str) -> Mailbox:
    """The mailbox that somebody gave, without angle brackets.

    NULL for an empty text; the bare postmaster has no domain. Raises PathSyntaxError with a sentence for the user.
    """
    return parse_path(f"<{text}>").mailbox


def _read_mailbox(inner: str) -> Mailbox:
    if not inner:
        return NULL
    if route := _ROUTE.match(inner):  # RFC 5321 §4.1.1.3: source routes are accepted and ignored
        inner = inner[route.end() :]
    if inner.lower() == "postmaster":  # RFC 5321 §4.5.1
        return Mailbox(inner)
    found = _MAILBOX.fullmatch(inner)
    if not found and len(inner) > 2 and inner[0] == inner[-1] == '"':  # all of it, not only the local part
        found = _MAILBOX.fullmatch(inner[1:-1].strip(" \t"))
    if not found:
        raise PathSyntaxError("the address is malformed")
    # RFC 5321 §4.5.3.1 allows 64 and 255; real local parts (VERP) are longer, so only a bound against abuse.
    if len(found["local"].encode()) > MAX_LOCAL_PART or len(found["domain"].encode()) > MAX_DOMAIN:
        raise PathSyntaxError("the address is too long")
    if found["domain"].startswith("["):
        _check_literal(found["domain"][1:-1])
    # The dot of an absolute name (RFC 1034 §3.1) is no part of an address; upstreams refuse it as often as not.
    return Mailbox(f"{found['local']}@{found['domain'].removesuffix('.')}")


def _check_literal(text: str) -> None:
    try:
        ipaddress.ip_address(text[5:] if text[:5].lower() == "ipv6:" else text)
    except ValueError:
        raise PathSyntaxError("the address literal is malformed") from None


def _parse_parameters(text: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for word in text.split():
        found = _PARAMETER.fullmatch(word)
        if not found:
            raise ParameterSyntaxError("a parameter is malformed")
        name = found["name"].upper()
        if name in parameters:
            raise ParameterSyntaxError(f"{name} is given twice")
        parameters[name] = found["value"] or ""
    return parameters


@lru_cache(maxsize=4096)  # as below
def domain(mailbox: str) -> str:
    """The domain in lower case and A-labels, without a final dot; empty for the null reverse-path and bare postmaster.

    A name that cannot be (RFC 1035's lengths, what UTS #46 forbids) is given in lower case as it stands.
    """
    if "@" not in mailbox:
        return ""
    name = mailbox.rpartition("@")[2].rstrip(".")
    if len(name) <= domain_names.MAX_LABEL and name.isascii():
        return name.lower()
    return domain_names.to_ascii(name) or unicodedata.normalize("NFC", name.lower())


@lru_cache(maxsize=4096)  # a recipient is asked for several times on its way
def canonical(mailbox: str) -> str:
    """The form under which suppressions and people are looked up: one for all spellings of an address.

    The whole address in lower case: RFC 5321 §2.4 lets a local part be case-sensitive, no large
    receiver does, and an unsubscribe must hold for `Ann@` and `ann@` alike. The local part in NFC (RFC 6532 §3.1) and
    without quotes that it does not need (RFC 5321 §4.1.2): `"ann"` is `ann`. The domain in A-labels (RFC 5890):
    `bücher.example` and `xn--bcher-kva.example` are one.
    """
    is_plain = len(mailbox) <= domain_names.MAX_LABEL and mailbox.isascii() and '"' not in mailbox
    if is_plain and not mailbox.endswith("."):
        return mailbox.lower()
    local, at, _ = mailbox.rpartition("@")
    return f"{_fold_case(_unquote(local))}@{domain(mailbox)}" if at else _fold_case(mailbox)


def _unquote(local: str) -> str:
    quoted = _QUOTED_WORD.fullmatch(local)
    bare = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else ""
    return bare if _BARE_LOCAL.fullmatch(bare) else local


def _fold_case(text: str) -> str:
    return text.lower() if text.isascii() else unicodedata.normalize("NFC", text.lower())


def earlier_canonicals(mailbox: str) -> list[str]:
    """What versions before A-labels, NFC and bare local parts wrote down for the same mailbox; none where that was
    the same."""
    local, at, name = mailbox.rpartition("@")
    is_plain = mailbox.isascii() and "xn--" not in name.lower()
    if not at or (is_plain and not local.startswith('"')):
        return []
    names = [name.rstrip(".").lower(), *_normal_forms(domain_names.to_unicode(domain(mailbox)))]
    locals_ = [form for one in (local, _unquote(local)) for form in (one.lower(), *_normal_forms(one.lower()))]
    return list(dict.fromkeys(f"{one}@{other}" for one in locals_ for other in names))


def _normal_forms(text: str) -> list[str]:
    return [unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)]


def with_ascii_domain(mailbox: Mailbox) -> Mailbox | None:
    """The mailbox as a server without SMTPUTF8 takes it (RFC 6531 §3.2); None where its local part or its domain has
    no form in ASCII."""
    if mailbox.isascii():
        return mailbox
    local, _, _ = mailbox.rpartition("@")
    name = domain(mailbox)
    return Mailbox(f"{local}@{name}") if local.isascii() and _ASCII_DOMAIN.fullmatch(name) else None


def matches_any(mailbox: str, patterns: Sequence[str]) -> bool:
    """True if one of the patterns is the address, its domain (`@example.com`), or fits it with `*`.

    The null reverse-path fits any: it is nobody's, and bounces must flow.
    """
    who = canonical(mailbox)
    return (
        not who
        or "*" in patterns
        or any(
            who.endswith(_pattern(pattern)) if pattern.startswith("@") else fnmatch.fnmatchcase(who, _pattern(pattern))
            for pattern in patterns
        )
    )


@lru_cache(maxsize=1024)
def _pattern(text: str) -> str:
    """The pattern as it is compared with canonical mailboxes."""
    local, at, name = text.rpartition("@")
    return f"{_fold_case(local)}@{domain_names.to_ascii(name) or name.lower()}" if at else _fold_case(text)
