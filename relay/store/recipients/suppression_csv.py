"""Suppressions as CSV (RFC 4180): ours out; ours, a bare list of addresses, and other senders' exports in.

In: lines of text.  Out: a SuppressionEntry or an InvalidRecord for each record, in order. Columns are found by their
names, which differ by provider. A record that cannot be read is reported with its line; the ones after it are read.

Spreadsheets run a cell that begins with = + - @ or a control character as a formula, and strangers write the evidence.
Such a cell is written with a ' before it, which is removed when it is read.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from relay import address, moments
from relay.store.recipients.suppressions import SuppressionEntry
from relay.suppression_reason import ALL, COMPLAINT, HARD_BOUNCE, MANUAL, REASONS, STREAM, UNSUBSCRIBE

COLUMNS = ("address", "scope", "stream", "reason", "evidence", "created_at", "expires_at")
MAX_EVIDENCE = 4000  # characters
_MAX_RECORD = 50  # lines: a quote that is never closed must not swallow the rest
_MICROSECONDS, _MILLISECONDS = 10**14, 10**11  # a bare number from here on counts these since 1970

# Names as exports have them (SendGrid, Mailgun, Postmark, SES, SparkPost, Mailchimp), without case, space, `_` and `-`.
_NAMES = {
    "address": ("address", "email", "emailaddress", "recipient", "mail"),
    "scope": ("scope",),
    "stream": ("stream", "messagestream"),
    "reason": ("reason", "suppressionreason", "type"),
    "evidence": ("evidence", "error", "description", "details", "detail"),
    "created_at": ("createdat", "created", "lastupdatetime", "updated", "date", "timestamp"),
    "expires_at": ("expiresat", "expires"),
}
_COLUMN_OF = {name: column for column, names in _NAMES.items() for name in names}
_REASON_PATTERNS = (  # searched for in a reason; the first match counts
    (HARD_BOUNCE, re.compile(r"^\W*[45]\d\d\b")),  # a reply, also if it speaks of spam
    (COMPLAINT, re.compile("complain|spam|abuse", re.IGNORECASE)),
    (UNSUBSCRIBE, re.compile("unsub|opt.?out", re.IGNORECASE)),
    (HARD_BOUNCE, re.compile("bounce|invalid", re.IGNORECASE)),
    (MANUAL, re.compile("manual", re.IGNORECASE)),
)
_UNNAMED = 'several columns without names: the first line must name them, such as "address,stream"'
_SEPARATOR = re.compile(r'"?sep=([^\w\r\n"])"?\s*+')  # the first line of files that Excel reads and writes
# Where a formula would begin: at a cell's head, and behind what a spreadsheet of another locale takes for a cell's end.
# A ' that is there already is doubled, so that what is read is what was written.
_FORMULA = r"""['"]*+[=+\-@\t\n]"""
_BEFORE_FORMULA = re.compile(rf"(?:\A|(?<=[;\t\n]))(?={_FORMULA})")
_MARKED_FORMULA = re.compile(rf"(?:\A|(?<=[;\t\n]))'(?={_FORMULA})")


class InvalidRecord(NamedTuple):
    """A record that cannot be imported: its first line, from 1, and why."""

    line: int
    why: str


class ImportDefaults(NamedTuple):
    """Values for columns that a file does not have."""

    at: datetime
    reason: str = MANUAL
    stream: str | None = None  # None: all mail


def read_csv(lines: Iterable[str], defaults: ImportDefaults) -> Iterator[SuppressionEntry | InvalidRecord]:
    """The records of the lines. The first line that is not empty may name the separator (`sep=;`), the next one the
    columns. Without names, a record is an address and nothing else: what a second column means must not be guessed."""
    columns: list[str] = []
    delimiter = ""
    is_unnamed = False
    for number, text in _records(lines):
        if number == 1:
            text = text.removeprefix("\ufeff")
        if not text.strip():
            continue
        if not columns and not delimiter and (named_separator := _SEPARATOR.fullmatch(text)):
            delimiter = named_separator[1]
            continue
        try:
            cells = [_parse_cell(cell) for cell in next(csv.reader([text], delimiter=delimiter or _delimiter(text)))]
        except csv.Error as error:
            yield InvalidRecord(number, str(error))
            continue
        if not columns:
            column_names = [_COLUMN_OF.get(re.sub(r"[\s_-]", "", cell.lower()), "") for cell in cells]
            if "address" in column_names and not any("@" in cell for cell in cells):
                columns, delimiter = column_names, delimiter or _delimiter(text)
                continue
            columns = ["address"]
            is_unnamed = True
        if is_unnamed and any(cells[1:]):
            yield InvalidRecord(number, _UNNAMED)
            continue
        row: dict[str, str] = {}
        for column, cell in zip(columns, cells, strict=False):
            row.setdefault(column, cell)
        try:
            yield _parse_entry(row, defaults)
        except ValueError as error:
            yield InvalidRecord(number, str(error))


def write_csv(entries: Iterable[SuppressionEntry], *, header: bool) -> str:
    """The entries as CSV; with the columns' names above them where `header`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if header:
        writer.writerow(COLUMNS)
    for entry in entries:
        writer.writerow([_format_cell(getattr(entry, column)) for column in COLUMNS])
    return out.getvalue()


def _format_cell(value: str | datetime | None) -> str:
    if isinstance(value, datetime):
        return moments.format_iso(value)
    # csv does not quote a bare CR, which spreadsheets take for the end of a row.
    text = (value or "").replace("\r\n", "\n").replace("\r", "\n")
    return _BEFORE_FORMULA.sub("'", text)


def _parse_cell(cell: str) -> str:
    return _MARKED_FORMULA.sub("", cell.strip()).strip()


def _records(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Each record with the number of its first line. A quoted field may hold line ends."""
    pending: list[str] = []
    first = 1
    for number, line in enumerate(lines, 1):
        pending.append(line)
        if sum(one.count('"') for one in pending) % 2 and len(pending) < _MAX_RECORD:
            continue
        if len(pending) < _MAX_RECORD:
            yield first, "".join(pending)
        else:  # the quote was a mistake: each line is read by itself
            yield from enumerate(pending, first)
        pending, first = [], number + 1
    yield from enumerate(pending, first)


def _delimiter(text: str) -> str:
    return max(",;\t", key=text.count)


def _parse_entry(row: dict[str, str], defaults: ImportDefaults) -> SuppressionEntry:
    """Raises ValueError with a sentence for the person who has the file."""
    mailbox = _parse_mailbox(row.get("address", ""))
    reason_cell, evidence = row.get("reason", ""), row.get("evidence", "")
    reason = _parse_reason(reason_cell) or _parse_reason(evidence) or defaults.reason
    if reason_cell.lower() not in REASONS and " " in reason_cell:  # SendGrid has the reply itself here
        evidence = f"{reason_cell} {evidence}".strip()
    stream = row.get("stream", "").lower()
    scope = row.get("scope", "").lower() or (STREAM if stream else "")
    if not scope:
        scope, stream = (ALL, "") if defaults.stream is None else (STREAM, defaults.stream)
    if scope not in (ALL, STREAM):
        raise ValueError(f'scope must be "{ALL}" or "{STREAM}", not "{scope[:40]}"')
    ends = row.get("expires_at", "")
    expires_at = _parse_time(ends)
    if ends and expires_at is None:
        raise ValueError(f'expires_at must be a time such as "2027-01-31T12:00:00Z", not "{ends[:40]}"')
    # The time decides nothing: an entry with a time of ours is better than an address that gets mail again.
    created_at = _parse_time(row.get("created_at", "")) or defaults.at
    evidence = evidence.replace("\0", "")[:MAX_EVIDENCE]
    return SuppressionEntry(mailbox, scope, stream if scope == STREAM else "", reason, evidence, created_at, expires_at)


def _parse_mailbox(text: str) -> str:
    if not text:
        raise ValueError("no address")
    if not text.isprintable() or "\ufffd" in text:
        raise ValueError("not UTF-8 text, or with control characters")
    if text.endswith(">") and text.count("<") == 1:  # as in mail: Ann <ann@example.com>
        text = text[:-1].partition("<")[2].strip()
    try:
        mailbox = address.parse_mailbox(text)
    except address.PathSyntaxError as error:
        raise ValueError(f"{error}: {text[:80]}") from None
    if not address.domain(mailbox):
        raise ValueError(f"no address: {text[:80]}")
    return mailbox


def _parse_reason(text: str) -> str:
    if text.lower() in REASONS:
        return text.lower()
    return next((reason for reason, pattern in _REASON_PATTERNS if pattern.search(text)), "")


def _parse_time(text: str) -> datetime | None:
    """ISO 8601, seconds since 1970 (or thousandths, or millionths), or as in mail (RFC 5322); UTC unless it says."""
    found: datetime | None = None
    with suppress(ValueError, OverflowError, OSError):
        if re.fullmatch(r"\d{9,17}(\.\d+)?", text):
            number = float(text)
            unit = 1e6 if number >= _MICROSECONDS else 1e3 if number >= _MILLISECONDS else 1
            return datetime.fromtimestamp(number / unit, UTC)
        found = datetime.fromisoformat(text.removesuffix(" UTC"))
    if found is None:
        with suppress(ValueError, TypeError, IndexError):
            found = parsedate_to_datetime(text)
    if found is None or found.year < 1971:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
