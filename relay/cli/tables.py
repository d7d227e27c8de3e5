"""Lists: a table that fits on a terminal; JSON lines in a pipe or with --json.

In: objects as in the API, and the columns of the table.  Out: what stands on standard output.
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from relay.cli import output

_WIDE = 110  # characters: a terminal that is as wide shows all columns
_STYLES = {
    "delivered": "green", "bounced": "red", "expired": "red", "failed": "red", "deferred": "yellow", "queued": "yellow",
    "held": "yellow", "parked": "red", "suppressed": "magenta", "complained": "red", "unsubscribed": "magenta",
    "disabled": "red", "hard_bounce": "red", "complaint": "red", "revoked": "red", "machine": "dim", "unknown": "dim",
}  # fmt: skip

JsonObject = dict[str, Any]  # Any: what JSON can hold


class Column(NamedTuple):
    """A column of a table. A column that shrinks cuts a long text with `…`; the others are as wide as their texts."""

    title: str
    value: Callable[[JsonObject], object]
    shrinks: bool = False
    is_number: bool = False
    is_wide: bool = False  # shown on a wide terminal only


def print_page(
    arguments: argparse.Namespace,
    items: Iterable[JsonObject],
    columns: Sequence[Column],
    *,
    empty_text: str,
    has_more: bool,
) -> None:
    """As `print_list`, with a warning where the list ended at its limit."""
    print_list(arguments, items, columns, empty_text=empty_text)
    if has_more:
        sys.stderr.write(f"There is more: this ends at --limit {arguments.limit}\n")


def print_list(
    arguments: argparse.Namespace, items: Iterable[JsonObject], columns: Sequence[Column], *, empty_text: str
) -> None:
    """The items, as a table with those columns or as JSON lines; on a terminal, `empty_text` is printed if there are
    none."""
    if not is_table(arguments):
        for item in items:
            output.print_json(item)
        return
    shown = [column for column in columns if not column.is_wide or shutil.get_terminal_size().columns >= _WIDE]
    rows = [[_cell_text(column.value(item)) for column in shown] for item in items]
    if rows:
        _print_table(shown, rows)
    else:
        output.print_line(empty_text)


def is_table(arguments: argparse.Namespace) -> bool:
    return sys.stdout.isatty() and not arguments.json


def print_object(arguments: argparse.Namespace, item: JsonObject) -> None:
    """One object: indented on a terminal, else on one line."""
    output.print_json(item, indent=2 if is_table(arguments) else None)


def short_time(text: str | None, *, seconds: bool = False) -> str:
    """A time of an object, in UTC, without the year if it is this year."""
    if not text:
        return ""
    at = datetime.fromisoformat(text).astimezone(UTC)
    if at.year != datetime.now(UTC).year:
        return f"{at:%Y-%m-%d %H:%M}"
    return f"{at:%m-%d %H:%M:%S}" if seconds else f"{at:%m-%d %H:%M}"


def replace_control_characters(text: str) -> str:
    """The text without control characters: anybody may have written it."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def _cell_text(value: object) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, list):
        return replace_control_characters(", ".join(map(str, value)))
    return replace_control_characters(str(value))


def _print_table(columns: Sequence[Column], rows: list[list[str]]) -> None:
    from rich.console import Console  # takes a twentieth of a second
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold", expand=False)
    for column in columns:
        justify = "right" if column.is_number else "left"
        table.add_column(column.title, justify=justify, no_wrap=not column.shrinks)  # type: ignore[arg-type]
    for row in rows:
        styles = [_STYLES.get(cell.partition(" ")[0], "") for cell in row]
        table.add_row(
            *(Text(cell, style, no_wrap=True, overflow="ellipsis") for cell, style in zip(row, styles, strict=True))
        )
    width, height = shutil.get_terminal_size()  # both, or rich takes 80 columns where TERM is `dumb`
    Console(highlight=False, width=width, height=height).print(table)
