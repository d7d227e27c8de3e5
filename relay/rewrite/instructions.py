"""The instructions of an app for its mail, in our fields or a provider's.

In: what the readers of fields find, one after the other.  Out: Instructions. Of two for the same thing the first
counts.
"""

import contextlib
import json
from dataclasses import dataclass, field

from relay.rewrite import display_fields

_MAX_TAGS = 50
_MAX_METADATA = 50


@dataclass(frozen=True, slots=True)
class Instructions:
    """The app's instructions; None and "" if there is none. Metadata names are lower case."""

    stream: str = ""
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    track_opens: bool | None = None
    track_clicks: bool | None = None
    expires_in: str = ""  # as given
    consent: bool | None = None  # its recipients' consent to tracking
    track_text: bool | None = None  # clicks in text/plain, where they are tracked at all
    override: bool = False  # send to suppressed addresses too; only for accounts that may override
    unreadable: bool = False  # a field of theirs could not be read


NO_INSTRUCTIONS = Instructions()  # of nearly all mail


@dataclass(slots=True)
class InstructionsBuilder:
    """Collects the instructions of one message."""

    stream: str = ""
    tags: list[str] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    opens: bool | None = None
    clicks: bool | None = None
    text: bool | None = None
    consent: bool | None = None
    expires_in: str = ""
    override: bool = False
    unreadable: bool = False
    may_be_forbidden: bool = False  # to track: a field that could not be read may forbid it

    def mark_unreadable(self, *, may_forbid: bool) -> None:
        self.unreadable = True
        self.may_be_forbidden = self.may_be_forbidden or may_forbid

    def set_tracking(self, opens: bool | None = None, clicks: bool | None = None, text: bool | None = None) -> None:
        self.opens = opens if self.opens is None else self.opens
        self.clicks = clicks if self.clicks is None else self.clicks
        self.text = text if self.text is None else self.text

    def add_tag(self, name: object) -> None:
        name = _text(name)
        if name and name not in self.tags and len(self.tags) < _MAX_TAGS:
            self.tags.append(name)

    def add_metadata(self, name: str, content: object) -> None:
        name = display_fields.to_printable(name).lower()
        if name and len(self.metadata) < _MAX_METADATA:
            self.metadata.setdefault(name, _text(content))

    def set_stream(self, name: object) -> None:
        self.stream = self.stream or _text(name).strip().lower()  # the same in any case: an unsubscribe must hold

    def set_expiry(self, after: str) -> None:
        self.expires_in = self.expires_in or after

    @property
    def control(self) -> Instructions:
        tags = tuple(self.tags)
        return Instructions(
            self.stream,
            tags,
            self.metadata,
            False if self.opens is None and self.may_be_forbidden else self.opens,
            False if self.clicks is None and self.may_be_forbidden else self.clicks,
            self.expires_in,
            self.consent,
            self.text,
            self.override,
            self.unreadable,
        )


def _text(content: object) -> str:
    """Text as it is, anything else as JSON."""
    if not isinstance(content, str):
        with contextlib.suppress(RecursionError):
            return display_fields.to_printable(json.dumps(content, ensure_ascii=False))
        return ""
    return display_fields.to_printable(content)
