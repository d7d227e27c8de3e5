"""A delivery as its recipient gets it: what a mail program would show, and a frame that keeps it harmless.

In: a message's octets and its plan.  Out: what was changed in them, and a `Mail` to look at. The standard library's
e-mail package parses here, for display only: nothing that is shown goes back into the mail.

A mail's HTML is anybody's: it is served alone, under a policy (CSP3 `sandbox`) that gives it an origin of its own, no
scripts and no forms, so that it can neither act in the console nor read it. Pictures load and links open a new tab,
as they would for the recipient: the pixel and the clicks are real.
"""

import base64
import contextlib
import email
import email.errors
import email.header
import email.message
import email.policy
import re
from typing import NamedTuple

from relay import tokens
from relay.edits import Edit, Mint
from relay.rewrite import dkim
from relay.rewrite.plan import Plan
from relay.store.tables import Message

FRAME_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; img-src http: https: data:; "
    "style-src 'unsafe-inline' http: https:; font-src http: https: data:; media-src http: https:; "
    "base-uri http: https:; form-action 'none'; frame-ancestors 'self'"
)
LONGEST_SOURCE = 256 << 10  # octets shown on a page; the download is whole
_LONGEST_CHANGE = 2000  # octets; a part in base64 is one edit
_MOST_INLINE = 8 << 20  # octets of pictures put into the HTML
_CID = re.compile(r"\bcid:([^\"'\s<>)]+)", re.IGNORECASE)
_HEAD = re.compile(r"<head(?:\s[^<>]*+)?>", re.IGNORECASE)
_DOCTYPE = re.compile(r"\s*<!doctype[^>]*>", re.IGNORECASE)
_NEW_TAB = '<base target="_blank">'


class Attachment(NamedTuple):
    """A part that is listed, not shown."""

    name: str
    content_type: str
    size_octets: int


class Change(NamedTuple):
    """An edit as text: octets `start` to `end` of the mail as it came became `new`."""

    why: str
    start: int
    end: int
    old: str
    new: str


class Mail(NamedTuple):
    """What there is to see."""

    fields: list[tuple[str, str]]  # in order, unfolded and decoded
    html: str  # with its own pictures inside; empty where there is none
    text: str
    attachments: list[Attachment]

    def field(self, name: str) -> str:
        """The first field of that name; empty where there is none."""
        return next((value for field, value in self.fields if field.lower() == name.lower()), "")


def edits(
    message: Message,
    octets: bytes,
    minter: tokens.Minter,
    signer: dkim.Signer,
    number: int,
    *,
    tracked: bool,
    is_live: bool = True,
) -> list[Edit]:
    """What was changed for that recipient: `splice(octets, …)` makes the very octets that their server got.

    Not `is_live`: for an onlooker, without the pixel, with the links as they were, and with none that unsubscribes.
    """
    if not message.plan:
        return []

    dead = f"{minter.public_url}/preview".encode("ascii")
    mint: Mint = minter.urls_of(message.id, number) if is_live else lambda _: dead
    tracked = tracked and is_live
    return Plan.from_json(message.plan).edits(octets, mint, tracked=tracked, sign=signer.at(message.accepted_at))


def changes(octets: bytes, made: list[Edit]) -> list[Change]:
    """The edits to look at, in order."""
    return [
        Change(edit.why, edit.start, edit.end, _shown(octets[edit.start : edit.end]), _shown(edit.new)) for edit in made
    ]


def read(octets: bytes) -> Mail:
    """The mail as a mail program would show it. Never fails: what cannot be read is shown as it stands."""
    # compat32: the newer policies raise on fields that real mail has.
    parsed = email.message_from_bytes(octets, policy=email.policy.compat32)
    html = text = ""
    pictures: dict[str, email.message.Message] = {}
    attachments: list[Attachment] = []
    for part in _leaves(parsed):
        kind = part.get_content_type()
        is_attached = part.get_content_disposition() == "attachment"
        content_id = str(part.get("Content-ID", "")).strip("<> \t\r\n")
        if content_id and part.get_content_maintype() == "image":
            pictures[content_id] = part
        if kind == "text/html" and not is_attached and not html:
            html = _text(part)
        elif kind == "text/plain" and not is_attached and not part.get_filename() and not text:
            text = _text(part)
        elif not (content_id and html and f"cid:{content_id}" in html):
            attachments.append(Attachment(_name(part), kind, len(_octets(part))))
    fields = [(name, _decoded(str(value))) for name, value in parsed.items()]
    return Mail(fields, _with_pictures(html, pictures), text, attachments)


def framed(html: str) -> str:
    """The HTML with its links opening in a new tab; the rest as it is."""
    # Not at the very top: before the doctype it would change how the whole mail is laid out.
    found = _HEAD.search(html) or _DOCTYPE.match(html)
    at = found.end() if found else 0
    return html[:at] + _NEW_TAB + html[at:]


def _shown(octets: bytes) -> str:
    text = octets[:_LONGEST_CHANGE].decode("utf-8", "replace")
    return text + "…" if len(octets) > _LONGEST_CHANGE else text


def _leaves(part: email.message.Message) -> list[email.message.Message]:
    # A message within is one part; a body that should have had parts and has none is one too.
    children = part.get_payload() if part.is_multipart() and part.get_content_type() != "message/rfc822" else None
    if not isinstance(children, list):
        return [part]
    return [leaf for child in children if isinstance(child, email.message.Message) for leaf in _leaves(child)]


def _octets(part: email.message.Message) -> bytes:
    if part.is_multipart():
        with contextlib.suppress(LookupError, ValueError, AttributeError):  # the generator fails on odd mail within
            return part.as_bytes()
        return b""
    found = part.get_payload(decode=True)
    return found if isinstance(found, bytes) else b""


def _text(part: email.message.Message) -> str:
    charset = part.get_content_charset("utf-8")
    try:
        return _octets(part).decode(charset, "replace")
    except (LookupError, ValueError):  # a charset that nobody knows
        return _octets(part).decode("latin-1")


def _name(part: email.message.Message) -> str:
    try:
        return _decoded(part.get_filename() or "") or part.get_content_type()
    except (LookupError, ValueError):
        return part.get_content_type()


def _decoded(value: str) -> str:
    unfolded = re.sub(r"\r?\n(?=[ \t])", "", value).strip()
    try:
        decoded = str(email.header.make_header(email.header.decode_header(unfolded)))
    except (LookupError, ValueError, email.errors.HeaderParseError):
        decoded = unfolded
    # Octets above ASCII come as surrogates: raw UTF-8 (RFC 6532) or whatever the author's program wrote.
    return decoded.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _with_pictures(html: str, pictures: dict[str, email.message.Message]) -> str:
    left = _MOST_INLINE

    def inline(found: re.Match[str]) -> str:
        nonlocal left
        part = pictures.get(found[1])
        octets = _octets(part) if part else b""
        if part is None or len(octets) > left:
            return found[0]
        left -= len(octets)
        return f"data:{part.get_content_type()};base64,{base64.b64encode(octets).decode('ascii')}"

    return _CID.sub(inline, html) if pictures else html
