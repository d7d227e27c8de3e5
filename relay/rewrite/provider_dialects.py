"""The dialects: ours and those of the providers whose words we understand. Tables, and what hears each row.

In: a control field.  Out: what it says, told to a Heard. For mail that goes out through such a provider, also
the fields that turn its own tracking off.  As the providers' documentation has them in November 2026.
"""

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from relay.rewrite import display_fields
from relay.rewrite.instructions import Heard
from relay.rewrite.json_patch import Members

Hear = Callable[[Heard, str, bytes], None]  # what was heard, the rest of the name, the unfolded value

_YES = frozenset({"yes", "true", "on", "1", "htmlonly"})
_NO = frozenset({"no", "false", "off", "0", "none"})


class Dialect(NamedTuple):
    """A provider's words. Names of fields are lower case; one that ends in `-` stands for all that begin with it."""

    rows: tuple[tuple[bytes, Hear], ...]  # in the order in which they are heard
    private: tuple[bytes, ...] = ()  # nothing to us, and not for the recipients' eyes: removed
    switches: tuple[bytes, ...] = ()  # what turns its tracking on; `off` replaces them
    off: tuple[bytes, ...] = ()  # fields that turn it off
    settings: tuple[bytes, Members] | None = None  # the JSON field that turns it off, and its members
    domain: str = ""  # where its SMTP servers live
    caveat: str = ""  # where its tracking can outlive `off`


def of(host: str) -> str:
    """The provider whose SMTP server that is; empty for all others."""
    host = "." + host.lower().rstrip(".")
    return next((name for name, it in DIALECTS.items() if it.domain and host.endswith("." + it.domain)), "")


def wish(said: object) -> bool | None:
    """Yes, no, or nothing that we know."""
    word = "" if said is None else str(said).strip().lower()
    return True if word in _YES else False if word in _NO else None


def _object(heard: Heard, value: bytes, *, may_forbid: bool = False) -> dict[str, Any]:  # Any: what JSON holds
    """The JSON object in the value; empty if it is none, which is noted. A field that `may_forbid` tracking does so
    where it cannot be read."""
    text = display_fields.whole(value)  # some libraries encode long fields, JSON or not
    try:
        found = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        return found
    if text.strip():
        heard.misread(may_forbid=may_forbid)
    return {}


def _at(said: object, *path: str) -> Any:  # Any: what JSON holds
    for name in path:
        said = said.get(name) if isinstance(said, dict) else None
    return said


def _each(said: object) -> list[str]:
    """One text or a list of them, as a list."""
    return [one for one in (said if isinstance(said, list) else [said]) if isinstance(one, str)]


def _notes(heard: Heard, said: object) -> None:
    for name, content in said.items() if isinstance(said, dict) else ():
        heard.note(name, content)


# --- what many say alike


def _track(heard: Heard, _: str, value: bytes) -> None:
    """`yes`, `no`, or `opens=no, clicks=no`."""
    text = display_fields.decoded(value).lower()
    both, said = wish(text), dict(re.findall(r"\b(\w++)\s*+[=:]\s*+(\w++)", text))
    opens, clicks = wish(said.get("opens", "")), wish(said.get("clicks", ""))
    heard.track(both if opens is None else opens, both if clicks is None else clicks)


def _opens(heard: Heard, _: str, value: bytes) -> None:
    heard.track(opens=wish(display_fields.decoded(value)))


def _clicks(heard: Heard, _: str, value: bytes) -> None:
    word = display_fields.decoded(value)
    heard.track(clicks=wish(word), text=False if word.lower() == "htmlonly" else None)


def _tag(heard: Heard, _: str, value: bytes) -> None:
    heard.tag(display_fields.decoded(value))


def _note(heard: Heard, rest: str, value: bytes) -> None:
    heard.note(rest, display_fields.decoded(value))


def _stream(heard: Heard, _: str, value: bytes) -> None:
    heard.name_stream(display_fields.decoded(value))


def _expires_in(heard: Heard, _: str, value: bytes) -> None:
    heard.expire(display_fields.decoded(value))


def _override(heard: Heard, _: str, value: bytes) -> None:
    heard.override = heard.override or wish(display_fields.decoded(value)) is True


def _consent(heard: Heard, _: str, value: bytes) -> None:
    heard.consent = wish(display_fields.decoded(value)) if heard.consent is None else heard.consent


def _nothing(_: Heard, __: str, ___: bytes) -> None:
    """An instruction to the provider alone."""


# --- one by one


def _postmark_links(heard: Heard, _: str, value: bytes) -> None:
    word = display_fields.decoded(value).lower()
    # `TextOnly` is none to us: we have no way to track the text and not the page.
    clicks = {"none": False, "textonly": False, "htmlonly": True, "htmlandtext": True}.get(word)
    heard.track(clicks=clicks, text=False if word == "htmlonly" else None)


def _mailgun_no(heard: Heard, _: str, value: bytes) -> None:
    """`no` turns off what the finer switches say, `yes` is the least that is said."""
    if wish(display_fields.decoded(value)) is False:
        heard.track(opens=False, clicks=False)


def _mailgun_variables(heard: Heard, _: str, value: bytes) -> None:
    _notes(heard, _object(heard, value))


def _mandrill_track(heard: Heard, _: str, value: bytes) -> None:
    """A list of what is tracked: what it leaves out is not, and any other word turns both off."""
    words = {word.strip() for word in display_fields.decoded(value).lower().split(",")} - {""}
    if words:
        in_text, in_html = not words.isdisjoint({"clicks", "clicks_all"}), "clicks_htmlonly" in words
        heard.track("opens" in words, in_text or in_html, in_text)


def _mandrill_tags(heard: Heard, _: str, value: bytes) -> None:
    for name in display_fields.whole(value).split(","):
        heard.tag(name)


def _mandrill_metadata(heard: Heard, _: str, value: bytes) -> None:
    said = _object(heard, value)
    if "_rcpt" not in said:  # what is said of one recipient is not the message's
        _notes(heard, said)


def _sendgrid(heard: Heard, _: str, value: bytes) -> None:
    said = _object(heard, value, may_forbid=True)
    opens, clicks = (_at(said, "filters", name, "settings") for name in ("opentrack", "clicktrack"))
    heard.track(wish(_at(opens, "enable")), wish(_at(clicks, "enable")), wish(_at(clicks, "enable_text")))
    for name in _each(said.get("category")):
        heard.tag(name)
    _notes(heard, said.get("unique_args"))
    group = said.get("asm_group_id")
    if isinstance(group, int | str):  # what can be unsubscribed from on its own is our stream
        heard.name_stream(group)
    elif wish(_at(said, "filters", "bypass_list_management", "settings", "enable")):
        heard.name_stream("transactional")


def _sparkpost(heard: Heard, _: str, value: bytes) -> None:
    said = _object(heard, value, may_forbid=True)
    heard.track(wish(_at(said, "options", "open_tracking")), wish(_at(said, "options", "click_tracking")))
    for name in _each(said.get("tags")) + _each(said.get("campaign_id")):
        heard.tag(name)
    _notes(heard, said.get("metadata"))
    if wish(_at(said, "options", "transactional")):
        heard.name_stream("transactional")


def _postal_amp(heard: Heard, _: str, value: bytes) -> None:
    if display_fields.decoded(value).lower() == "skip":
        heard.track(opens=False, clicks=False)


OURS = "waypost"
DIALECTS: dict[str, Dialect] = {
    OURS: Dialect(
        rows=(
            (b"x-waypost-track", _track),
            (b"x-waypost-tag", _tag),
            (b"x-waypost-meta-", _note),
            (b"x-waypost-stream", _stream),
            (b"x-waypost-expires-in", _expires_in),
            (b"x-waypost-override-suppression", _override),
            (b"x-waypost-consent", _consent),
        )
    ),
    "postmark": Dialect(
        rows=(
            (b"x-pm-trackopens", _opens),
            (b"x-pm-tracklinks", _postmark_links),
            (b"x-pm-tag", _tag),
            (b"x-pm-metadata-", _note),
            (b"x-pm-message-stream", _stream),
        ),
        switches=(b"x-pm-trackopens", b"x-pm-tracklinks"),
        off=(b"X-PM-TrackOpens: false\r\n", b"X-PM-TrackLinks: None\r\n"),
        domain="postmarkapp.com",
        caveat="where open tracking is on for a whole Postmark server, no mail can turn it off",
    ),
    "mailgun": Dialect(
        rows=(
            (b"x-mailgun-track", _mailgun_no),
            (b"x-mailgun-track-opens", _opens),
            (b"x-mailgun-track-clicks", _clicks),
            (b"x-mailgun-track", _track),
            (b"x-mailgun-tag", _tag),
            (b"x-mailgun-variables", _mailgun_variables),
        ),
        private=(b"x-mailgun-recipient-variables",),
        switches=(b"x-mailgun-track", b"x-mailgun-track-opens", b"x-mailgun-track-clicks"),
        off=(b"X-Mailgun-Track: no\r\n", b"X-Mailgun-Track-Opens: no\r\n", b"X-Mailgun-Track-Clicks: no\r\n"),
        domain="mailgun.org",
    ),
    "mandrill": Dialect(
        rows=(
            (b"x-mc-track", _mandrill_track),
            (b"x-mc-tags", _mandrill_tags),
            (b"x-mc-metadata", _mandrill_metadata),
        ),
        private=(b"x-mc-mergevars", b"x-mc-bccaddress"),
        switches=(b"x-mc-track",),
        off=(b"X-MC-Track: none\r\n",),
        domain="mandrillapp.com",
    ),
    "sendgrid": Dialect(
        rows=((b"x-smtpapi", _sendgrid),),
        settings=(
            b"X-SMTPAPI",
            {"filters": {"opentrack": {"settings": {"enable": 0}}, "clicktrack": {"settings": {"enable": 0}}}},
        ),
        domain="sendgrid.net",
    ),
    "sparkpost": Dialect(
        rows=((b"x-msys-api", _sparkpost),),
        settings=(b"X-MSYS-API", {"options": {"open_tracking": False, "click_tracking": False}}),
        domain="sparkpostmail.com",
    ),
    "postal": Dialect(
        rows=((b"x-postal-tag", _tag), (b"x-amp", _postal_amp)),
        switches=(b"x-amp",),
        off=(b"X-AMP: skip\r\n",),
        caveat="some versions of Postal track in spite of X-AMP: skip; turn its tracking domain off",
    ),
    "cuttlefish": Dialect(
        rows=(
            (b"x-cuttlefish-metadata-", _note),
            (b"x-cuttlefish-ignore-deny-list", _nothing),
            (b"x-cuttlefish-disable-css-inlining", _nothing),
        ),
        caveat="Cuttlefish tracks by app, and no mail can turn it off",
    ),
}
NAMES = tuple(name for name in DIALECTS if name != OURS)
