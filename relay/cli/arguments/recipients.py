"""The arguments of `suppressions`, `person`, `pixel` and `webhooks`: what is listed and changed."""

import argparse

from relay import suppression_reason, webhook_format
from relay.cli.arguments import argument_types, lists
from relay.cli.arguments.parser import FilterAction, Parser


def add_suppressions(parser: Parser) -> None:
    parser.describe(
        "Addresses that get no mail: of all kinds (hard bounces, complaints), or of one stream (unsubscribes).",
        "waypost suppressions list",
        "waypost suppressions add ann@example.com --stream newsletter --expires-in 30d",
        "waypost suppressions remove ann@example.com",
        "waypost suppressions export suppressed.csv",
        "waypost suppressions import suppressed.csv",
    )
    actions = parser.add_actions()
    listing = actions.add("list", "suppressions.list_suppressions", "the entries, newest first")
    listing.add_argument("query", nargs="?", action=FilterAction, metavar="TEXT", help="part of an address")
    lists.add_recipient(listing)
    lists.add_stream(listing)
    lists.add_span(listing, "added then or later")
    listing.add_argument(
        "--reason",
        default="",
        choices=suppression_reason.REASONS,
        metavar="REASON",
        help=f"suppressed for: {', '.join(suppression_reason.REASONS)}",
    )
    lists.add_limit(listing, 1000)
    lists.add_json(listing)
    adding = actions.add("add", "suppressions.add_suppression", "suppress an address")
    adding.add_argument("address", metavar="ADDRESS")
    adding.add_argument("--stream", help="this stream only (default: all mail)")
    _add_reason(adding, "why (default: manual)")
    adding.add_argument("--evidence", default="", metavar="TEXT", help="why, to read later")
    until = adding.add_mutually_exclusive_group()
    until.add_argument("--expires-in", type=argument_types.duration, metavar="TIME", help="30d, 12h (default: never)")
    until.add_argument(
        "--expires-at", type=argument_types.later_moment, metavar="TIME", help="2027-01-31, 2027-01-31T14:00 (UTC)"
    )
    removing = actions.add("remove", "suppressions.remove_suppressions", "send mail to an address again")
    removing.add_argument("address", metavar="ADDRESS")
    removing.add_argument("--stream", help="this stream only (default: every entry)")
    importing = actions.add("import", "suppressions.import_suppressions", "add the entries of a CSV file")
    importing.describe(
        """\
Reads CSV, from a file or standard input (-), and adds what is new:

  address,scope,stream,reason,evidence,created_at,expires_at

Only the address is needed. A bare list of addresses works too, and so do the exports of SendGrid, Mailgun, Postmark,
SES and SparkPost, also as Excel saves them (semicolons, tabs, a first line such as sep=;). scope is all or stream;
reason is hard_bounce, complaint, unsubscribe or manual. An entry that exists already stays as it is, unless it would
end sooner. Lines that cannot be read are named on standard error, and all others are imported. Exit status 1 if any
line was refused.

export puts a ' before a cell that a spreadsheet would run as a formula (= + - @); import takes it off.""",
        "waypost suppressions import bounces.csv --reason hard_bounce",
    )
    importing.add_argument("file", metavar="FILE", help="- is standard input")
    importing.add_argument("--stream", help="for lines that name neither scope nor stream: this stream only")
    _add_reason(importing, "for lines without a reason (default: manual)")
    exporting = actions.add("export", "suppressions.export_suppressions", "all entries that are in force, as CSV")
    exporting.add_argument("file", nargs="?", metavar="FILE", help="default: standard output")


def _add_reason(parser: Parser, help_text: str) -> None:
    reasons = suppression_reason.REASONS
    parser.add_argument(
        "--reason", choices=reasons, default="manual", metavar="REASON", help=f"{', '.join(reasons)}: {help_text}"
    )


def add_person(parser: Parser) -> None:
    parser.describe(
        """\
What this installation knows about an address as a recipient of mail: messages, deliveries, attempts, events with IP
and user agent, suppressions, consent. In pseudonymous mode it is found by the address's pseudonym.

erase removes the address from all of it, with the IP and user agent of its events, replies that quote it, and the
subject, metadata and content of the mail. Mail that still waits is given up. Counters and totals stay, because they
name nobody. A suppression stays as a pseudonym, which can be found from the address with this installation's key only:
people who unsubscribed get no mail again, and a "no" to tracking stays in force. --no-keep-suppression erases those
as well.""",
        "waypost person export ann@example.com > ann.json",
        "waypost person erase ann@example.com",
    )
    actions = parser.add_actions()
    exporting = actions.add("export", "person.export_person", "everything, as one JSON object")
    exporting.add_argument("address", metavar="ADDRESS")
    exporting.add_argument("--content", action="store_true", help="with the mail itself, in base64")
    erasing = actions.add("erase", "person.erase_person", "remove the address from everything")
    erasing.add_argument("address", metavar="ADDRESS")
    erasing.add_argument("--yes", action="store_true", help="do not ask")
    erasing.add_argument(
        "--keep-suppression",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep suppressions and a no to tracking, as pseudonyms (the default)",
    )


def add_pixel(parser: Parser) -> None:
    parser.describe(
        """\
A real 1x1 picture at an address of its own, to paste into a mail that does not pass through the relay. Each fetch is
logged, with what is known about who fetched it. The address never changes, and ends in .png or .gif.""",
        'waypost pixel create "Offer to Ann"',
        "waypost pixel list",
        'waypost pixel show "Offer to Ann"',
        'waypost pixel remove "Offer to Ann"',
    )
    actions = parser.add_actions()
    creating = actions.add("create", "pixel.create_pixel", "make a pixel; prints its id and URL")
    creating.add_argument("name", metavar="NAME")
    creating.add_argument("--json", action="store_true", help="print it as a JSON object")
    listing = actions.add("list", "pixel.list_pixels", "all pixels, the newest first")
    lists.add_limit(listing, 1000)
    lists.add_json(listing)
    showing = actions.add(
        "show", "pixel.show_pixel", "a pixel with its log; quick repeats by one visitor are one entry"
    )
    showing.add_argument("pixel", metavar="NAME|ID")
    lists.add_json(showing)
    removing = actions.add("remove", "pixel.remove_pixel", "remove a pixel and its log; its URL still shows a picture")
    removing.add_argument("pixel", metavar="NAME|ID")


def add_webhooks(parser: Parser) -> None:
    parser.describe(
        """\
Endpoints that get each event as it happens: those of config.toml, and those that are added here, in the console or by
the API. Each request is signed (https://www.standardwebhooks.com), logged, and repeated for a day until the endpoint
accepts it. With --format postmark, sendgrid or mailgun, handlers that were written for those providers work
unchanged.""",
        "waypost webhooks add https://app.example.com/hooks/mail --events bounced",
        "waypost webhooks test ID",
        "waypost webhooks log ID --failed",
        "waypost webhooks replay ID --since 12h",
    )
    actions = parser.add_actions()
    listing = actions.add("list", "webhooks.list_webhooks", "all webhooks and their state")
    lists.add_json(listing)
    adding = actions.add("add", "webhooks.add_webhook", "add a webhook; prints it with its secret, this once")
    adding.add_argument("url", metavar="URL", help="http://user:password@… is sent as basic authentication")
    adding.add_argument("--events", default="*", metavar="TYPES", help="bounced,complained … (default: all)")
    adding.add_argument(
        "--format",
        choices=webhook_format.FORMATS,
        default=webhook_format.WAYPOST,
        metavar="FORMAT",
        help=f"{', '.join(webhook_format.FORMATS)} (default: {webhook_format.WAYPOST})",
    )
    adding.add_argument(
        "--secret",
        default="",
        help="whsec_… or any text (default: a new one); - asks for it, or reads a line of standard input, so that the "
        "list of processes does not show it",
    )
    adding.add_argument(
        "--machines", action="store_true", help="in the formats of providers: send hits of machines too"
    )
    for name, run, help_text in (
        ("remove", "webhooks.remove_webhook", "remove a webhook, with its log and its waiting events"),
        ("enable", "webhooks.enable_webhook", "send events again, first those that still wait"),
        ("disable", "webhooks.disable_webhook", "send nothing until it is enabled"),
        ("rotate", "webhooks.rotate_secret", "make a new secret and print it; the old one signs beside it for a day"),
        ("test", "webhook_test.test_webhook", "send a made-up event now, and show the answer"),
    ):
        actions.add(name, run, help_text).add_argument("webhook", metavar="ID")
    logging = actions.add("log", "webhooks.print_log", "its latest requests and their answers")
    logging.add_argument("webhook", metavar="ID")
    logging.add_argument("--failed", action="store_true", help="only requests that failed")
    lists.add_limit(logging, 100)
    lists.add_json(logging)
    replaying = actions.add("replay", "webhooks.replay_events", "send events again: one, or all of the last hours")
    replaying.add_argument("webhook", metavar="ID")
    which = replaying.add_mutually_exclusive_group(required=True)
    which.add_argument("--event", metavar="EVENT", help="the event of that id")
    which.add_argument(
        "--since", type=argument_types.moment, metavar="TIME", help="those since 12h or 7d ago, or 2026-11-27"
    )
    actions.add("secret", "webhooks.print_new_secret", "print a new secret, to put into config.toml")
