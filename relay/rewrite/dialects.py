"""What an app says to us in control fields, in our words and in other providers'.

In: the header section.  Out: a Control and the fields to be removed. A dialect is a row in `DIALECTS`: a
table from (lower-case) field name to the function that hears it; a name that ends in `-` stands for all
fields that begin with it. Of two fields that say the same, ours wins over others', then the first.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from relay.rewrite import facts, fields

_MOST_TAGS = 50
_MOST_METADATA = 50
_YES = frozenset({"yes", "true", "on", "1", "htmlonly"})
_NO = frozenset({"no", "false", "off", "0", "none"})
# DESIGN §3: not for the recipients' eyes.
_NEVER_PASSED = frozenset({b"bcc", b"resent-bcc", b"return-path"})


@dataclass(frozen=True, slots=True)
class Control:
    """The app's wishes; None and "" where it is silent. Metadata names are lower case."""

    stream: str = ""
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    track_opens: bool | None = None
    track_clicks: bool | None = None
    expires_in: str = ""  # as given


@dataclass(slots=True)
class _Heard:
    stream: str = ""
    tags: list[str] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    opens: bool | None = None
    clicks: bool | None = None
    expires_in: str = ""

    def track(self, opens: bool | None = None, clicks: bool | None = None) -> None:
        self.opens = opens if self.opens is None else self.opens
        self.clicks = clicks if self.clicks is None else self.clicks

    def tag(self, name: str) -> None:
        if name and name not in self.tags and len(self.tags) < _MOST_TAGS:
            self.tags.append(name)

    def note(self, name: str, value: str) -> None:
        if name and len(self.metadata) < _MOST_METADATA:
            self.metadata.setdefault(name.lower(), value)


_Hear = Callable[[_Heard, str, str], None]  # what was heard, the rest of the name, the value


def read(octets: bytes, head: fields.Head, dialects: tuple[str, ...]) -> tuple[Control, list[fields.Field]]:
    """The app's wishes, and the fields that must not be passed on, in order."""
    heard = _Heard()
    removed = [found for found in head.fields if found.name in _NEVER_PASSED]
    for dialect in ("waypost", *dialects):
        rows = DIALECTS.get(dialect, {})
        for found in head.fields:
            name = found.name.decode("ascii")
            row = name if name in rows else next((r for r in rows if r.endswith("-") and name.startswith(r)), "")
            if row:
                rows[row](heard, name.removeprefix(row), facts.decoded(fields.value(octets, found)))
                removed.append(found)
    control = Control(heard.stream, tuple(heard.tags), heard.metadata, heard.opens, heard.clicks, heard.expires_in)
    return control, sorted(set(removed), key=lambda found: found.start)


def _wish(text: str) -> bool | None:
    word = text.strip().lower()
    return True if word in _YES else False if word in _NO else None


def _track(heard: _Heard, _: str, value: str) -> None:
    """`yes`, `no`, or `opens=no, clicks=no`."""
    both = _wish(value)
    said = dict(re.findall(r"(\w+)\s*[=:]\s*(\w+)", value.lower()))
    opens, clicks = _wish(said.get("opens", "")), _wish(said.get("clicks", ""))
    heard.track(both if opens is None else opens, both if clicks is None else clicks)


def _stream(heard: _Heard, _: str, value: str) -> None:
    heard.stream = heard.stream or value


def _tag(heard: _Heard, _: str, value: str) -> None:
    heard.tag(value)


def _note(heard: _Heard, rest: str, value: str) -> None:
    heard.note(rest, value)


def _expires_in(heard: _Heard, _: str, value: str) -> None:
    heard.expires_in = heard.expires_in or value


def _opens(heard: _Heard, _: str, value: str) -> None:
    heard.track(opens=_wish(value))


def _clicks(heard: _Heard, _: str, value: str) -> None:
    heard.track(clicks=_wish(value))


def _both(heard: _Heard, _: str, value: str) -> None:
    heard.track(_wish(value), _wish(value))


def _postmark_links(heard: _Heard, _: str, value: str) -> None:
    heard.track(clicks={"none": False, "textonly": False, "htmlonly": True, "htmlandtext": True}.get(value.lower()))


def _mailgun_variables(heard: _Heard, _: str, value: str) -> None:
    try:
        variables = json.loads(value)
    except (ValueError, RecursionError):
        return
    for name, content in variables.items() if isinstance(variables, dict) else ():
        heard.note(str(name), content if isinstance(content, str) else json.dumps(content))


DIALECTS: dict[str, dict[str, _Hear]] = {
    "waypost": {
        "x-waypost-track": _track,
        "x-waypost-tag": _tag,
        "x-waypost-meta-": _note,
        "x-waypost-stream": _stream,
        "x-waypost-expires-in": _expires_in,
    },
    "postmark": {
        "x-pm-trackopens": _opens,
        "x-pm-tracklinks": _postmark_links,
        "x-pm-tag": _tag,
        "x-pm-metadata-": _note,
        "x-pm-message-stream": _stream,
    },
    "mailgun": {
        "x-mailgun-track-opens": _opens,
        "x-mailgun-track-clicks": _clicks,
        "x-mailgun-track": _both,
        "x-mailgun-tag": _tag,
        "x-mailgun-variables": _mailgun_variables,
    },
}
