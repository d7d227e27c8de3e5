"""The arguments of `messages`, `events`, `stats`, `queue`, `refusals` and `audit`: what became of mail."""

from relay import hit_verdict
from relay.cli.arguments import argument_types, lists
from relay.cli.arguments.parser import FilterAction, Parser
from relay.event_type import EventType

EVENT_TYPES = tuple(one.value for one in EventType)


def add_messages(parser: Parser) -> None:
    parser.describe(
        """\
The latest messages, newest first. TEXT may be words (of a recipient, subject, author or Message-ID) and
operators, as in the console and the API:

  to: from: subject: tag: meta.NAME: status: stream: id: before: after:

A message must match all of them.""",
        "waypost messages ann@example.com",
        "waypost messages --status bounced --since 7d",
        "waypost messages 'tag:welcome after:2026-11-01' --json",
    )
    parser.add_argument("query", nargs="*", action=FilterAction, metavar="TEXT", help="words and operators")
    parser.add_argument("--query", dest="more", action=FilterAction, default="", metavar="TEXT", help="the same")
    lists.add_recipient(parser, "an address, or a part of one")
    lists.add_status(parser, argument_types.STATUSES, "with a delivery that is")
    lists.add_tag(parser)
    lists.add_stream(parser)
    lists.add_span(parser)
    lists.add_limit(parser, 50)
    lists.add_json(parser)
    parser.set_defaults(run="messages.print_messages")


def add_events(parser: Parser) -> None:
    parser.describe(
        """\
The latest events, oldest first: what was accepted, delivered, deferred, bounced, expired or suppressed, and who
opened, clicked or unsubscribed.""",
        "waypost events --since 1h --type bounced,complained",
        "waypost events --follow --recipient ann@example.com",
        "waypost events reclassify --since 30d",
    )
    parser.add_argument(
        "--type",
        type=argument_types.make_word_list_type(EVENT_TYPES, "type"),
        default=[],
        metavar="TYPES",
        help=f"one or several, joined by commas: {', '.join(EVENT_TYPES)}",
    )
    parser.add_argument(
        "--verdict",
        default="",
        choices=hit_verdict.VERDICTS,
        metavar="VERDICT",
        help=f"opens and clicks by: {', '.join(hit_verdict.VERDICTS)}",
    )
    lists.add_recipient(parser)
    parser.add_argument("--message", action=FilterAction, default="", metavar="ID", help="of that message")
    lists.add_tag(parser)
    lists.add_stream(parser)
    lists.add_span(parser)
    lists.add_limit(parser, 50)
    lists.add_json(parser)
    parser.add_argument("--follow", action="store_true", help="go on as events happen, until ^C")
    parser.set_defaults(run="events.print_events")
    actions = parser.add_actions(required=False)
    judging = actions.add(
        "reclassify", "reclassification.reclassify_hits", "judge opens and clicks by the rules of this version"
    )
    judging.describe(
        """\
Judges past opens and clicks again by the rules of this version (relay/attribution/rules.toml), each together with all
hits of its delivery, and corrects the counters. The server may run meanwhile. A second run changes nothing.""",
        "waypost events reclassify",
        "waypost events reclassify --since 30d",
    )
    judging.add_argument(
        "--since", type=argument_types.moment, metavar="TIME", help="hits since 30d ago, or 2026-11-01 (default: all)"
    )


def add_stats(parser: Parser) -> None:
    parser.describe(
        """\
What happened in a span of time, by full hours, as one JSON object. Opens and clicks are counted by verdict: human,
proxied (a person, behind a mail provider's image proxy), machine (prefetch, scanner, preview) and unknown; opened_by
and clicked_by count deliveries, each once. DSNs that Waypost itself sent are counted apart, as notices. With --by
there is one JSON object a line.""",
        "waypost stats --last 7d",
        "waypost stats --last 30d --by day",
        "waypost stats --last 30d --stream news --by tag",
        "waypost stats rebuild",
    )
    span = parser.add_mutually_exclusive_group()
    span.add_argument(
        "--last", default="1d", type=argument_types.duration, metavar="SPAN", help="24h, 7d, 400d (default: 1d)"
    )
    span.add_argument("--since", type=argument_types.moment, metavar="TIME", help="from then on: 2026-11-01, 7d (UTC)")
    parser.add_argument("--until", type=argument_types.moment, metavar="TIME", help="before then")
    parser.add_argument(
        "--by",
        choices=argument_types.STATISTIC_GROUPS,
        metavar="WHAT",
        help=f"{', '.join(argument_types.STATISTIC_GROUPS[:-1])} or {argument_types.STATISTIC_GROUPS[-1]}",
    )
    parser.add_argument("--stream", metavar="NAME", help="mail of this stream only")
    parser.add_argument("--tag", action=FilterAction, metavar="TAG", help="mail with this tag only")
    parser.add_argument("--domain", action=FilterAction, metavar="NAME", help="mail to this domain only")
    lists.add_json(parser)
    parser.set_defaults(run="stats.print_statistics")
    actions = parser.add_actions(required=False)
    rebuilding = actions.add("rebuild", "stats.rebuild_roll_ups", "count all events again")
    rebuilding.describe(
        """\
Counts all events again, while the server runs. Counts from before the oldest event that is kept stay as they are.""",
        "waypost stats rebuild",
    )


def add_queue(parser: Parser) -> None:
    parser.describe(
        """\
Deliveries that wait for another attempt. An ID is a message's, or a delivery's: the message's, a dot and a number.

A delivery is parked after three processes died while they attempted it. It is not attempted again until you retry
it. Otherwise drop it, or wait until it expires and its sender gets a DSN.""",
        "waypost queue list",
        "waypost queue show 06gvq2rnm5t2k7i09b50",
        "waypost queue retry 06gvq2rnm5t2k7i09b50.0",
        "waypost queue retry --all",
        "waypost queue hold 06gvq2rnm5t2k7i09b50",
        "waypost queue release 06gvq2rnm5t2k7i09b50",
        "waypost queue drop 06gvq2rnm5t2k7i09b50 --notify",
    )
    actions = parser.add_actions()
    listing = actions.add("list", "queue_list.list_deliveries", "what waits, the next due first")
    lists.add_recipient(listing)
    lists.add_tag(listing)
    lists.add_stream(listing)
    lists.add_span(listing, "accepted then or later")
    lists.add_status(listing, ("queued", "deferred"), "not attempted yet, or deferred")
    listing.add_argument(
        "--category", action=FilterAction, default="", metavar="NAME", help="deferred for that cause: greylisted …"
    )
    listing.add_argument("--held", action="store_true", help="what is held")
    listing.add_argument("--parked", action="store_true", help="what is parked")
    lists.add_limit(listing, 1000)
    lists.add_json(listing)
    showing = actions.add("show", "queue.show_message", "a message, its deliveries and their attempts")
    showing.add_argument("id", metavar="ID")
    lists.add_json(showing)
    retrying = actions.add("retry", "queue.retry_deliveries", "make mail due now")
    retrying.add_argument("id", nargs="?", metavar="ID")
    retrying.add_argument("--all", action="store_true", help="all that waits and is neither parked nor held")
    retrying.set_defaults(usage=retrying.error)
    holding = actions.add("hold", "queue.hold_deliveries", "do not attempt mail until it is released, or expires")
    holding.add_argument("id", metavar="ID")
    releasing = actions.add("release", "queue.release_deliveries", "make held mail due now")
    releasing.add_argument("id", metavar="ID")
    dropping = actions.add("drop", "queue.drop_deliveries", "give mail up: it expires now, with the category dropped")
    dropping.add_argument("id", metavar="ID")
    dropping.add_argument("--notify", action="store_true", help="send a DSN to the reverse-path (default: none)")


def add_refusals(parser: Parser) -> None:
    parser.describe(
        """\
What Waypost itself refused, the newest first: who, to whom, which reply, when. No message exists of it; the client was
told why. The latest are kept, for 30 days at most; of many in a minute the rest is only counted.""",
        "waypost refusals --recipient ann@example.com",
        "waypost refusals --query 553 --since 1d",
    )
    parser.add_argument(
        "--query",
        action=FilterAction,
        default="",
        metavar="TEXT",
        help="in sender, recipient, user, IP address or reply",
    )
    lists.add_recipient(parser)
    parser.add_argument("--sender", action=FilterAction, default="", metavar="ADDRESS", help="the reverse-path")
    parser.add_argument(
        "--code", type=argument_types.reply_code, default=0, metavar="CODE", help="the reply's code, such as 553"
    )
    lists.add_span(parser)
    lists.add_limit(parser, 50)
    lists.add_json(parser)
    parser.set_defaults(run="refusals.list_refusals")


def add_audit(parser: Parser) -> None:
    parser.describe(
        """\
Who changed what, from where and when, the newest first: in the console, by the API and on the command line. Actions are
named OBJECT.VERB (queue.drop, suppression.add, account.role); an object alone finds all that was done to such.""",
        "waypost audit --since 7d",
        "waypost audit --action queue --by ann",
        "waypost audit --recipient ann@example.com --json",
    )
    parser.add_argument(
        "--by",
        action=FilterAction,
        default="",
        metavar="NAME",
        help="an account, an API key, or a user of this machine",
    )
    parser.add_argument(
        "--door",
        default="",
        choices=argument_types.DOORS,
        metavar="DOOR",
        help=f"through: {', '.join(argument_types.DOORS)}",
    )
    parser.add_argument("--action", action=FilterAction, default="", metavar="ACTION", help="OBJECT.VERB, or OBJECT")
    parser.add_argument("--target", action=FilterAction, default="", metavar="ID", help="of that id or name")
    lists.add_recipient(parser)
    lists.add_span(parser)
    lists.add_limit(parser, 50)
    lists.add_json(parser)
    parser.set_defaults(run="audit.list_entries")
