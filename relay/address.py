"""Paths and mailboxes of the SMTP envelope.  RFC 5321 §4.1.2, §4.1.3, RFC 6531 §3.3.

A mailbox is kept as the text that the client gave, without angle brackets and source route;
the null reverse-path is the empty string. Nothing is decoded: the envelope is not a header.
"""

import fnmatch
import ipaddress
import re
from collections.abc import Iterable
from typing import NamedTuple, NewType

Mailbox = NewType("Mailbox", str)
NULL = Mailbox("")

# RFC 5321 §4.1.2 with RFC 6531 §3.3: every octet above ASCII may stand where an atext or a qtext may.
_ATEXT = r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\u0080-\U0010ffff]"
_DOT_STRING = rf"{_ATEXT}+(?:\.{_ATEXT}+)*"
# Real addresses carry stray dots (`a..b@docomo.example`); the receiver decides, not we.
_LOOSE_DOT_STRING = rf"(?:{_ATEXT}|\.)+"
_QUOTED = r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e\u0080-\U0010ffff]|\\[\x20-\x7e])*"'
_LABEL = r"[A-Za-z0-9\u0080-\U0010ffff](?:[A-Za-z0-9_\-\u0080-\U0010ffff]*[A-Za-z0-9_\u0080-\U0010ffff])?"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*\.?|\[[A-Za-z0-9:.\-]+\])"
_MAILBOX = re.compile(rf"(?P<local>{_LOOSE_DOT_STRING}|{_QUOTED})@(?P<domain>{_DOMAIN})")
_ROUTE = re.compile(rf"@{_DOMAIN}(?:,@{_DOMAIN})*:")
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


def parse_path(text: str) -> Path:
    """The path and its ESMTP parameters.

    White space before the path is forgiven (many clients write `FROM: <a@b>`), and so are missing
    angle brackets. Raises PathSyntaxError with a sentence for the client.
    """
    text = text.strip(" \t")
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise PathSyntaxError("control characters are not allowed")
    if text.startswith("<"):
        # A quoted local part may hold `>` and spaces.
        closed = re.match(r'<((?:[^"<>]|"(?:[^"\\]|\\.)*")*)>', text)
        if not closed:
            raise PathSyntaxError("the path has no closing angle bracket")
        inner, rest = closed[1], text[closed.end() :]
    else:
        inner, _, rest = text.partition(" ")
        rest = " " + rest if rest else ""
        if not inner:
            raise PathSyntaxError("no path given")
    if rest and not rest.startswith((" ", "\t")):
        raise PathSyntaxError("no space between path and parameters")
    return Path(_mailbox(inner), _parameters(rest))


def _mailbox(inner: str) -> Mailbox:
    if not inner:
        return NULL
    if route := _ROUTE.match(inner):  # RFC 5321 §4.1.1.3: source routes are accepted and ignored
        inner = inner[route.end() :]
    if inner.lower() == "postmaster":  # RFC 5321 §4.5.1
        return Mailbox(inner)
    found = _MAILBOX.fullmatch(inner)
    if not found:
        raise PathSyntaxError("the address is malformed")
    # RFC 5321 §4.5.3.1 allows 64 and 255; real local parts (VERP) are longer, so only a bound against abuse.
    if len(found["local"].encode()) > 256 or len(found["domain"].encode()) > 255:
        raise PathSyntaxError("the address is too long")
    if found["domain"].startswith("["):
        _check_literal(found["domain"][1:-1])
    return Mailbox(inner)


def _check_literal(text: str) -> None:
    try:
        ipaddress.ip_address(text[5:] if text[:5].lower() == "ipv6:" else text)
    except ValueError:
        raise PathSyntaxError("the address literal is malformed") from None


def _parameters(text: str) -> dict[str, str]:
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


def domain(mailbox: str) -> str:
    """The domain in lower case, without a final dot; empty for the null reverse-path and bare postmaster."""
    return mailbox.rpartition("@")[2].rstrip(".").lower() if "@" in mailbox else ""


def canonical(mailbox: str) -> str:
    """The form under which suppressions and people are looked up.

    The whole address in lower case: RFC 5321 §2.4 lets a local part be case-sensitive, no large
    receiver does, and an unsubscribe must hold for `Ann@` and `ann@` alike.
    """
    local, at, _ = mailbox.rpartition("@")
    return f"{local.lower()}@{domain(mailbox)}" if at else mailbox.lower()


def matches(mailbox: str, patterns: Iterable[str]) -> bool:
    """True if one of the patterns is the address, its domain (`@example.com`), or fits it with `*`.

    The null reverse-path fits any: it is nobody's, and bounces must flow.
    """
    who = canonical(mailbox)
    return not who or any(
        who.endswith(pattern.lower()) if pattern.startswith("@") else fnmatch.fnmatchcase(who, pattern.lower())
        for pattern in patterns
    )


def is_ascii(mailbox: str) -> bool:
    """True if the mailbox needs no SMTPUTF8 (RFC 6531)."""
    return mailbox.isascii()
