"""A delivery as its recipient gets it: what a mail program would show, and a frame that keeps it harmless.

In: a message's octets and its plan.  Out: what was changed in them, and a `MailView` to show.

Anybody may have written a mail's HTML. So it is served alone, under a policy (CSP3 `sandbox`) that gives it an origin
of its own, no scripts and no forms: it can neither act in the console nor read it. Links open a new tab. Pictures,
styles and fonts of other hosts load only if the operator asks for them, because those hosts would see the operator's
address.
"""

import base64
import re
from typing import NamedTuple

from relay import tokens
from relay.edits import Edit, Mint
from relay.rewrite import dkim
from relay.rewrite.plan import Plan
from relay.store.database.rows import Message
from web import mail_parts
from web.mail_parts import LeafPart

_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; img-src data: {0}; "
    "style-src 'unsafe-inline' {1}; font-src data: {1}; media-src {2}; "
    "base-uri http: https:; form-action 'none'; frame-ancestors 'self'"
)
MAX_SOURCE = 256 << 10  # octets shown on a page; the download is whole
MAX_TEXT = 1 << 20  # octets of a text or of HTML that are shown
_MAX_CHANGE = 2000  # octets; a part in base64 is one edit
_MAX_INLINE = 8 << 20  # octets of pictures put into the HTML
_CID = re.compile(r"\bcid:([^\"'\s<>)]+)", re.IGNORECASE)
_HEAD = re.compile(r"<head(?:\s[^<>]*+)?>", re.IGNORECASE)
_REMOTE = re.compile(
    r"""\b(?:src|srcset|background|poster|data)\s*+=\s*+["']?+\s*+(?:https?:)?//"""
    r"""|url\(\s*+["']?+\s*+(?:https?:)?//|@import|<link\b""",
    re.IGNORECASE,
)
_DOCTYPE = re.compile(r"\s*<!doctype[^>]*>", re.IGNORECASE)
_NEW_TAB = '<base target="_blank">'


class Attachment(NamedTuple):
    """A part that is listed, not shown. `number`: which of the mail's leaves it is, from 0."""

    number: int
    name: str
    content_type: str
    size_octets: int


class ShownEdit(NamedTuple):
    """An edit as text: octets `start` to `end` of the mail as it came became `new`."""

    why: str
    start: int
    end: int
    old: str
    new: str


class MailView(NamedTuple):
    """What a mail program would show of a mail."""

    fields: list[tuple[str, str]]  # in order, unfolded and decoded
    html: str  # with its own pictures inside; empty where there is none
    text: str
    attachments: list[Attachment]
    is_cut: bool  # HTML or text is longer than what is shown

    def field(self, name: str) -> str:
        """The first field of that name; empty where there is none."""
        return next((value for field, value in self.fields if field.lower() == name.lower()), "")


def edits_for_recipient(
    message: Message,
    octets: bytes,
    minter: tokens.Minter,
    signer: dkim.Signer,
    number: int,
    *,
    tracked: bool,
    is_live: bool = True,
) -> list[Edit]:
    """The edits for that recipient: `splice(octets, …)` makes the very octets that their server got.

    Without `is_live` the edits are for somebody else who looks at the mail: it has no pixel, its links are the
    original ones, and none of them unsubscribes.
    """
    if not message.plan:
        return []

    dead = f"{minter.public_url}/preview".encode("ascii")
    mint: Mint = minter.url_factory(message.id, number) if is_live else lambda _: dead
    tracked = tracked and is_live
    return Plan.from_json(message.plan).edits(octets, mint, tracked=tracked, sign=signer.as_of(message.accepted_at))


def describe_edits(octets: bytes, edits: list[Edit]) -> list[ShownEdit]:
    """The edits as text for a page, in order."""
    return [
        ShownEdit(edit.why, edit.start, edit.end, _edit_text(octets[edit.start : edit.end]), _edit_text(edit.new))
        for edit in edits
    ]


def view_mail(octets: bytes) -> MailView:
    """The mail as a mail program would show it. Never fails: what cannot be read is shown as it stands."""
    html = text = ""
    is_cut = False
    pictures: dict[str, LeafPart] = {}
    attachments: list[Attachment] = []
    for number, part in enumerate(mail_parts.walk_leaves(octets)):
        if part.content_id and part.type.startswith("image/"):
            pictures[part.content_id] = part
        is_body = not part.is_attached and part.type in ("text/html", "text/plain")
        if is_body and part.type == "text/html" and not html:
            html, is_cut = part.text(MAX_TEXT), is_cut or len(part.body) > MAX_TEXT
        elif is_body and part.type == "text/plain" and not part.name and not text:
            text, is_cut = part.text(MAX_TEXT), is_cut or len(part.body) > MAX_TEXT
        elif not (part.content_id and html and f"cid:{part.content_id}" in html):
            attachments.append(Attachment(number, part.name or part.type, part.type, part.size_octets))
    return MailView(mail_parts.read_fields(octets), _inline_pictures(html, pictures), text, attachments, is_cut)


def find_part(octets: bytes, number: int) -> LeafPart | None:
    """That leaf of the mail; None if it has fewer."""
    return next((part for at, part in enumerate(mail_parts.walk_leaves(octets)) if at == number), None)


def frame_policy(picture_hosts: str = "", *, remote: bool = False) -> str:
    """The frame's policy. `own`: hosts whose pictures always load (in a sandbox, the pixel's). `remote`: pictures of
    all hosts load."""
    everywhere = "http: https:"
    return _POLICY.format(*([everywhere] * 3 if remote else (picture_hosts, "", "'none'")))


def has_remote_content(html: str, public_url: str) -> bool:
    """True if it would load something from elsewhere: our own pixel, under `public_url`, is not."""
    return bool(_REMOTE.search(html.replace(f"{public_url.rstrip('/')}/o/", "")))


def add_link_target(html: str) -> str:
    """The HTML with its links opening in a new tab; the rest as it is."""
    # Not at the very top: before the doctype it would change how the whole mail is laid out.
    found = _HEAD.search(html) or _DOCTYPE.match(html)
    at = found.end() if found else 0
    return html[:at] + _NEW_TAB + html[at:]


def _edit_text(octets: bytes) -> str:
    text = octets[:_MAX_CHANGE].decode("utf-8", "replace")
    return text + "…" if len(octets) > _MAX_CHANGE else text


def _inline_pictures(html: str, pictures: dict[str, LeafPart]) -> str:
    left = _MAX_INLINE

    def inline(match: re.Match[str]) -> str:
        nonlocal left
        part = pictures.get(match[1])
        if part is None or len(part.body) > left:
            return match[0]
        left -= len(part.body)
        octets = part.octets(len(part.body))
        return f"data:{part.type};base64,{base64.b64encode(octets).decode('ascii')}"

    return _CID.sub(inline, html) if pictures else html
