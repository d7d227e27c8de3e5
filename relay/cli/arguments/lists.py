"""Arguments that several lists have: --json, --limit, and filters."""

from relay.cli.arguments import argument_types
from relay.cli.arguments.parser import FilterAction, Parser, StreamFilterAction

JSON_HELP = "JSON, one object a line, also on a terminal"


def add_json(parser: Parser) -> None:
    """--json: a list is a table on a terminal, and JSON in a pipe anyway."""
    parser.add_argument("--json", action="store_true", help=JSON_HELP)


def add_limit(parser: Parser, default: int) -> None:
    parser.add_argument(
        "--limit",
        type=argument_types.positive_count,
        default=default,
        metavar="N",
        help=f"at most so many (default: {default})",
    )


def add_span(parser: Parser, subject: str = "from then on") -> None:
    """--since and --until."""
    when = "12h or 7d ago, 2026-11-27, 2026-11-27T14:00"
    parser.add_argument("--since", type=argument_types.moment, metavar="TIME", help=f"{subject}: {when} (UTC)")
    parser.add_argument("--until", type=argument_types.moment, metavar="TIME", help="before then")


def add_stream(parser: Parser) -> None:
    parser.add_argument("--stream", action=StreamFilterAction, default="", metavar="NAME", help="of that stream")


def add_tag(parser: Parser) -> None:
    parser.add_argument("--tag", action=FilterAction, default="", metavar="TAG", help="with that tag")


def add_recipient(parser: Parser, help_text: str = "an address") -> None:
    parser.add_argument(
        "--recipient", action=FilterAction, default="", metavar="ADDRESS", help=f"to that recipient: {help_text}"
    )


def add_status(parser: Parser, statuses: tuple[str, ...], help_text: str) -> None:
    parser.add_argument(
        "--status", default="", choices=statuses, metavar="STATUS", help=f"{help_text}: {', '.join(statuses)}"
    )
