"""The parameters by which a client asks for delivery status notifications.  RFC 3461 §4, RFC 6533 §3.

In: the values of NOTIFY, ORCPT, RET, ENVID as they came.  Out: the same, checked, for the upstream.
"""

import re

from relay.reply import refusal

MAX_ENVID, MAX_ORCPT = 100, 500  # characters: RFC 3461 §4.4, §4.2
_KEYWORDS = frozenset({"SUCCESS", "FAILURE", "DELAY"})
# RFC 3461 §4: xtext = printable ASCII, with + and = (and anything else) as +HH.
_XTEXT = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})"
_ENVID = re.compile(rf"{_XTEXT}+")
# RFC 6533 §3: the type utf-8 also has \x{HEX} and, under SMTPUTF8, the characters themselves.
_ORCPT = re.compile(rf"(?:(?!utf-8;)[A-Za-z0-9.\-]+;{_XTEXT}+|(?i:utf-8);(?:{_XTEXT}|[\u0080-\U0010ffff])+)")


def parse_notify(text: str) -> str:
    """`NEVER`, or some of `SUCCESS,FAILURE,DELAY`, in upper case. Raises RefusedError."""
    wanted = text.upper()
    if wanted != "NEVER" and not _KEYWORDS.issuperset(wanted.split(",")):
        raise refusal(501, "5.5.4", "NOTIFY is NEVER alone, or some of SUCCESS,FAILURE,DELAY")
    return wanted


def parse_orcpt(text: str) -> str:
    """`TYPE;ADDRESS` with the address in xtext. Raises RefusedError."""
    if len(text) > MAX_ORCPT or not _ORCPT.fullmatch(text):
        raise refusal(501, "5.5.4", f"ORCPT is TYPE;ADDRESS in xtext, at most {MAX_ORCPT} characters")
    return text


def parse_ret(text: str) -> str:
    """`FULL` or `HDRS`. Raises RefusedError."""
    if text.upper() not in ("FULL", "HDRS"):
        raise refusal(501, "5.5.4", "RET is FULL or HDRS")
    return text.upper()


def parse_envid(text: str) -> str:
    """The client's own name for the envelope, in xtext. Raises RefusedError."""
    if len(text) > MAX_ENVID or not _ENVID.fullmatch(text):
        raise refusal(501, "5.5.4", f"ENVID is xtext, at most {MAX_ENVID} characters")
    return text
