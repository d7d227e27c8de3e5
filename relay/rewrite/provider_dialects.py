"""The control fields that we read: our own and those of providers. Tables, and the reader of each field.

In: a control field.  Out: what it says, added to an InstructionsBuilder. For mail that goes out through such a
provider, also the fields that turn its own tracking off.  As the providers' documentation has them in November 2026.
"""

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from relay.mime import encoded_words
from relay.rewrite import display_fields
from relay.rewrite.instructions import InstructionsBuilder
from relay.rewrite.json_patch import Members

# What to add to, the rest of the field's name, and its unfolded value.
FieldReader = Callable[[InstructionsBuilder, str, bytes], None]

_YES = frozenset({"yes", "true", "on", "1", "htmlonly"})
_NO = frozenset({"no", "false", "off", "0", "none"})
_SETTING = re.compile(r"\b(\w++)\s*+[=:]\s*+(\w++)")  # opens=no
_SETTING_NAMES = frozenset({"opens", "clicks"})


class Dialect(NamedTuple):
    """A provider's fields. Names are lower case; one that ends in `-` stands for all that begin with it."""

    readers: tuple[tuple[bytes, FieldReader], ...]  # in the order in which they are read
    removed: tuple[bytes, ...] = ()  # ignored and removed: recipients must not see them
    tracking_switches: tuple[bytes, ...] = ()  # what turns its tracking on; `off` replaces them
    tracking_off: tuple[bytes, ...] = ()  # fields that turn it off
    settings: tuple[bytes, Members] | None = None  # the JSON field that turns it off, and its members
    domain: str = ""  # the domain of its SMTP servers
    caveat: str = ""  # a case in which its tracking goes on after `off`


def find_by_host(host: str) -> str:
    """The provider whose SMTP server that is; empty for all others."""
    host = "." + host.lower().rstrip(".")
    return next((name for name, it in DIALECTS.items() if it.domain and host.endswith("." + it.domain)), "")


def find_provider(configured_name: str, host: str) -> str:
    """The provider of an upstream: the configured one ("none" is none), else that of its host; empty for none."""
    return "" if configured_name == "none" else configured_name or find_by_host(host)


def parse_switch(value: object) -> bool | None:
    """True for yes, False for no, None for anything else."""
    word = "" if value is None else str(value).strip().lower()
    return True if word in _YES else False if word in _NO else None


# Any: what JSON holds.
def _read_json_object(builder: InstructionsBuilder, value: bytes, *, may_forbid: bool = False) -> dict[str, Any]:
    """The JSON object in the value; empty if it is none, which is noted. A field that `may_forbid` tracking does so
    where it cannot be read."""
    text = encoded_words.decode_words(value)  # some libraries encode long fields, JSON or not
    try:
        found = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        return found
    if text.strip():
        builder.mark_unreadable(may_forbid=may_forbid)
    return {}


def _member_at(value: object, *path: str) -> Any:  # Any: what JSON holds
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _texts_in(value: object) -> list[str]:
    """One text or a list of them, as a list."""
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]


def _add_each_metadata(builder: InstructionsBuilder, value: object) -> None:
    for name, content in value.items() if isinstance(value, dict) else ():
        builder.add_metadata(name, content)


def _read_switch(builder: InstructionsBuilder, value: bytes) -> bool | None:
    """Yes or no; None for any other text, which is noted."""
    text = display_fields.decode_header_text(value)
    found = parse_switch(text)
    if found is None and text:
        builder.mark_unreadable(may_forbid=False)
    return found


# --- readers that several dialects use


def _read_track(builder: InstructionsBuilder, _: str, value: bytes) -> None:
    """`yes`, `no`, or `opens=no, clicks=no`."""
    text = display_fields.decode_header_text(value).lower()
    both, settings = parse_switch(text), dict(_SETTING.findall(text))
    opens, clicks = parse_switch(settings.get("opens", "")), parse_switch(settings.get("clicks", ""))
    builder.set_tracking(both if opens is None else opens, both if clicks is None else clicks)
    rest = _SETTING.sub("", text).strip(" ,;")
    is_understood = (not rest or both is not None) and settings.keys() <= _SETTING_NAMES
    if not is_understood or None in map(parse_switch, settings.values()):
        builder.mark_unreadable(may_forbid=False)


def _read_opens(builder: InstructionsBuilder, _: str, value: bytes) -> None:
    builder.set_tracking(opens=_read_switch(builder, value))


def _read_clicks(builder: InstructionsBuilder, _: str, value: bytes) -> None:
    word = display_fields.decode_header_text(value)
    builder.set_tracking(clicks=_read_switch(builder, value), text=False if word.lower() == "htmlonly" else None)


def _read_tag(builder: InstructionsBuilder, _: str, value: bytes) -> None:
    builder.add_tag(display_fields.decode_header_text(value))


def _read_metadata(builder: InstructionsBuilder, rest: str, value: bytes) -> None:
    builder.add_metadata(rest, display_fields.decode_header_text(value))


def _read_stream(builder: InstructionsBuilder, _: str, value: bytes) -> None:
    builder.set_stream(display_fields.decode_header_text(value))


def _read_expiry(builder: InstructionsBuilder, _: str, value: bytes) -> None:
    builder.set_expiry(display_fields.decode_header_text(value))


def _read_override(builder: InstructionsBuilder, _: str, value: bytes) -> None:
    builder.override = _read_switch(builder, value) is True or builder.override


def _read_consent(builder: InstructionsBuilder, _: str, value: bytes) -> None:
    found = _read_switch(builder, value)
    builder.consent = found if builder.consent is None else builder.consent


def _ignore_field(_: InstructionsBuilder, __: str, ___: bytes) -> None:
    """An instruction for the provider only."""


# --- readers of one dialect


def _read_postmark_links(builder: InstructionsBuilder, _: str, value: bytes) -> None:
    word = display_fields.decode_header_text(value).lower()
    # `TextOnly` is none to us: we have no way to track the text and not the page.
    clicks = {"none": False, "textonly": False, "htmlonly": True, "htmlandtext": True}.get(word)
    if clicks is None and word:
        builder.mark_unreadable(may_forbid=False)
    builder.set_tracking(clicks=clicks, text=False if word == "htmlonly" else None)


def _read_mailgun_no(builder: InstructionsBuilder, _: str, value: bytes) -> None:
    """`no` turns off what the finer switches say, `yes` is the least that is said."""
    if parse_switch(display_fields.decode_header_text(value)) is False:
        builder.set_tracking(opens=False, clicks=False)


def _read_mailgun_variables(builder: InstructionsBuilder, _: str, value: bytes) -> None:
    _add_each_metadata(builder, _read_json_object(builder, value))


def _read_mandrill_track(builder: InstructionsBuilder, _: str, value: bytes) -> None:
    """A list of what is tracked: what it leaves out is not, and any other word turns both off."""
    words = {word.strip() for word in display_fields.decode_header_text(value).lower().split(",")} - {""}
    if words:
        in_text, in_html = not words.isdisjoint({"clicks", "clicks_all"}), "clicks_htmlonly" in words
        builder.set_tracking("opens" in words, in_text or in_html, in_text)


def _read_mandrill_tags(builder: InstructionsBuilder, _: str, value: bytes) -> None:
    for name in encoded_words.decode_words(value).split(","):
        builder.add_tag(name)


def _read_mandrill_metadata(builder: InstructionsBuilder, _: str, value: bytes) -> None:
    members = _read_json_object(builder, value)
    if "_rcpt" not in members:  # what is said of one recipient is not the message's
        _add_each_metadata(builder, members)


def _read_sendgrid(builder: InstructionsBuilder, _: str, value: bytes) -> None:
    members = _read_json_object(builder, value, may_forbid=True)
    opens, clicks = (_member_at(members, "filters", name, "settings") for name in ("opentrack", "clicktrack"))
    builder.set_tracking(
        parse_switch(_member_at(opens, "enable")),
        parse_switch(_member_at(clicks, "enable")),
        parse_switch(_member_at(clicks, "enable_text")),
    )
    for name in _texts_in(members.get("category")):
        builder.add_tag(name)
    _add_each_metadata(builder, members.get("unique_args"))
    group = members.get("asm_group_id")
    if isinstance(group, int | str):  # what can be unsubscribed from on its own is our stream
        builder.set_stream(group)
    elif parse_switch(_member_at(members, "filters", "bypass_list_management", "settings", "enable")):
        builder.set_stream("transactional")


def _read_sparkpost(builder: InstructionsBuilder, _: str, value: bytes) -> None:
    members = _read_json_object(builder, value, may_forbid=True)
    builder.set_tracking(
        parse_switch(_member_at(members, "options", "open_tracking")),
        parse_switch(_member_at(members, "options", "click_tracking")),
    )
    for name in _texts_in(members.get("tags")) + _texts_in(members.get("campaign_id")):
        builder.add_tag(name)
    _add_each_metadata(builder, members.get("metadata"))
    if parse_switch(_member_at(members, "options", "transactional")):
        builder.set_stream("transactional")


def _read_postal_amp(builder: InstructionsBuilder, _: str, value: bytes) -> None:
    if display_fields.decode_header_text(value).lower() == "skip":
        builder.set_tracking(opens=False, clicks=False)


WAYPOST = "waypost"
DIALECTS: dict[str, Dialect] = {
    WAYPOST: Dialect(
        readers=(
            (b"x-waypost-track", _read_track),
            (b"x-waypost-tag", _read_tag),
            (b"x-waypost-meta-", _read_metadata),
            (b"x-waypost-stream", _read_stream),
            (b"x-waypost-expires-in", _read_expiry),
            (b"x-waypost-override-suppression", _read_override),
            (b"x-waypost-consent", _read_consent),
        )
    ),
    "postmark": Dialect(
        readers=(
            (b"x-pm-trackopens", _read_opens),
            (b"x-pm-tracklinks", _read_postmark_links),
            (b"x-pm-tag", _read_tag),
            (b"x-pm-metadata-", _read_metadata),
            (b"x-pm-message-stream", _read_stream),
        ),
        tracking_switches=(b"x-pm-trackopens", b"x-pm-tracklinks"),
        tracking_off=(b"X-PM-TrackOpens: false\r\n", b"X-PM-TrackLinks: None\r\n"),
        domain="postmarkapp.com",
        caveat="where open tracking is on for a whole Postmark server, no mail can turn it off",
    ),
    "mailgun": Dialect(
        readers=(
            (b"x-mailgun-track", _read_mailgun_no),
            (b"x-mailgun-track-opens", _read_opens),
            (b"x-mailgun-track-clicks", _read_clicks),
            (b"x-mailgun-track", _read_track),
            (b"x-mailgun-tag", _read_tag),
            (b"x-mailgun-variables", _read_mailgun_variables),
        ),
        removed=(b"x-mailgun-recipient-variables",),
        tracking_switches=(b"x-mailgun-track", b"x-mailgun-track-opens", b"x-mailgun-track-clicks"),
        tracking_off=(b"X-Mailgun-Track: no\r\n", b"X-Mailgun-Track-Opens: no\r\n", b"X-Mailgun-Track-Clicks: no\r\n"),
        domain="mailgun.org",
    ),
    "mandrill": Dialect(
        readers=(
            (b"x-mc-track", _read_mandrill_track),
            (b"x-mc-tags", _read_mandrill_tags),
            (b"x-mc-metadata", _read_mandrill_metadata),
        ),
        removed=(b"x-mc-mergevars", b"x-mc-bccaddress"),
        tracking_switches=(b"x-mc-track",),
        tracking_off=(b"X-MC-Track: none\r\n",),
        domain="mandrillapp.com",
    ),
    "sendgrid": Dialect(
        readers=((b"x-smtpapi", _read_sendgrid),),
        settings=(
            b"X-SMTPAPI",
            {"filters": {"opentrack": {"settings": {"enable": 0}}, "clicktrack": {"settings": {"enable": 0}}}},
        ),
        domain="sendgrid.net",
    ),
    "sparkpost": Dialect(
        readers=((b"x-msys-api", _read_sparkpost),),
        settings=(b"X-MSYS-API", {"options": {"open_tracking": False, "click_tracking": False}}),
        domain="sparkpostmail.com",
    ),
    "postal": Dialect(
        readers=((b"x-postal-tag", _read_tag), (b"x-amp", _read_postal_amp)),
        tracking_switches=(b"x-amp",),
        tracking_off=(b"X-AMP: skip\r\n",),
        caveat="some versions of Postal track in spite of X-AMP: skip; turn its tracking domain off",
    ),
    "cuttlefish": Dialect(
        readers=(
            (b"x-cuttlefish-metadata-", _read_metadata),
            (b"x-cuttlefish-ignore-deny-list", _ignore_field),
            (b"x-cuttlefish-disable-css-inlining", _ignore_field),
        ),
        caveat="Cuttlefish tracks by app, and no mail can turn it off",
    ),
}
NAMES = tuple(name for name in DIALECTS if name != WAYPOST)
# How each field begins that is read or removed.
PREFIXES = tuple({name for it in DIALECTS.values() for name in (*(row for row, _ in it.readers), *it.removed)})
