"""The filters of a page, as its address has them, and what of them is not understood.

In: a query.  Out: values. What is not understood is left out, and is named by a sentence that the page shows: else a
misspelt filter would find everything, and nobody would know.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, date, datetime
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.responses import PlainTextResponse, Response

from relay import ids

MAX_TEXT = 400  # characters of a value
MESSAGE_ID = re.compile(ids.PATTERN)
_MAX_NAMED = 5  # unknown parameters
_MAX_SHOWN = 60  # characters of what is not understood


class PageFilters:
    """What an address asks for. `faults` grows with what is not understood."""

    def __init__(self, parameters: QueryParams, names: Collection[str]) -> None:
        self._parameters = parameters
        unknown = [name for name in parameters if name not in names]
        self.faults = [
            f"{name[:_MAX_SHOWN]}: there is no such filter here; there are {', '.join(names)}"
            for name in unknown[:_MAX_NAMED]
        ]

    def text(self, name: str, max_characters: int = MAX_TEXT) -> str:
        """A value without the spaces around it; PostgreSQL takes no NUL."""
        return self._parameters.get(name, "").replace("\x00", "").strip()[:max_characters]

    def stream(self) -> str:
        """The stream's name, which is the same in any case."""
        return self.text("stream").lower()

    def choice(self, name: str, words: Iterable[str], default: str = "") -> str:
        """One of the words; the default if nothing is asked for, or no such word."""
        asked, choices = self.text(name), list(words)
        if not asked or asked in choices:
            return asked or default
        self.add_fault(name, f"there is no {asked[:_MAX_SHOWN]}; one of {', '.join(choices)}")
        return default

    def day(self, name: str) -> datetime | None:
        """The midnight, UTC, with which a day begins."""
        asked = self.text(name)
        if not asked:
            return None
        try:
            day = date.fromisoformat(asked)
            if not 1970 <= day.year <= 9998:
                raise ValueError
        except ValueError:
            self.add_fault(name, f"{asked[:_MAX_SHOWN]} is no day such as 2026-11-27")
            return None
        return datetime(day.year, day.month, day.day, tzinfo=UTC)

    def days(self) -> tuple[datetime | None, datetime | None]:
        """`from` and `to`. If they are in the wrong order, neither counts."""
        first, last = self.day("from"), self.day("to")
        if first and last and first > last:
            self.add_fault("from", "must not be after to")
            return None, None
        return first, last

    def cursor(self, name: str, form: re.Pattern[str], leads_to: str) -> re.Match[str] | None:
        """Where a page begins, as the link on the page before has it."""
        asked = self.text(name)
        found = form.fullmatch(asked)
        if asked and not found:
            self.add_fault(name, f"must come from the link to {leads_to}")
        return found

    def add_fault(self, name: str, reason: str) -> None:
        """Notes what is not understood, and why."""
        self.faults.append(f"{name}: {reason}")

    def refusal(self) -> Response | None:
        """The answer where a file is asked for: else it would have everything, and nobody would see why."""
        return (
            PlainTextResponse("".join(f"not understood: {one}\n" for one in self.faults), 400) if self.faults else None
        )


def page_url(path: str, values: Mapping[str, str]) -> str:
    """The address of a page with its filters; those that are empty are left out."""
    query = urlencode({name: value for name, value in values.items() if value})
    return f"{path}?{query}" if query else path
