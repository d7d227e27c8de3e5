"""The arguments of `instrument`, `classify` and `token`: what a mail, a reply or a URL means."""

from relay.cli.arguments.parser import Parser

PHASES = ("connect", "helo", "auth", "mail", "rcpt", "data", "dot")  # as classify.Phase has them


def add_instrument(parser: Parser) -> None:
    parser.describe(
        """\
Writes to standard output the exact octets that the upstream would get for one recipient, and sends nothing. Lines
that end in a bare LF are read as CRLF, as the relay does it.

The report (--report FILE, JSON) has every link with its decision and reason, and the edits: half-open octet spans of
the file with what replaces them. The edits include missing line ends (line_end) and the missing beginning of a header
(header), so that applying them to the file gives the output, and undoing them gives the file.

A link too long for a tracking URL is shown as skipped (too_long) unless its destination is stored already. The relay
itself stores it (up to 8 KB) before the mail leaves, and tracks it.""",
        "waypost instrument newsletter.eml --to ann@example.com > out.eml",
        "waypost instrument - --to ann@example.com --report report.json < mail.eml",
    )
    parser.add_argument("file", metavar="FILE", help="the mail; - for standard input")
    parser.add_argument("--to", required=True, metavar="ADDRESS", help="the recipient")
    parser.add_argument(
        "--from",
        dest="reverse_path",
        metavar="ADDRESS",
        help="the reverse-path; <> for the null one (default: the address in the mail's From field, else the null one)",
    )
    parser.add_argument("--report", metavar="FILE", help="write the report there (- for standard error)")
    parser.set_defaults(run="instrument.instrument_file")


def add_classify(parser: Parser) -> None:
    parser.describe(
        """\
Prints one JSON object for each reply: its kind (hard, soft, none), category, the rule that decided, whether the
address is suppressed and whether the mail is tried again. With --lines the n-th object answers the n-th line: an empty
line gets one of kind none, and a line with an unknown phase one with an error (exit status 1).

With --mail it reads bounces, complaints and automatic replies, and prints one object for each recipient found (one
with an empty recipient, if there is none). A FILE holds a mail or is an mbox; of a folder every file is read, and - is
standard input.""",
        'waypost classify "550 5.1.1 user unknown"',
        'waypost classify --phase dot "554 5.7.1 blocked using zen.example.org"',
        "waypost classify --lines < replies.txt",
        "waypost classify --mail bounce.eml ~/Maildir/new",
    )
    parser.add_argument("reply", nargs="?", metavar="REPLY")
    parser.add_argument(
        "--phase", choices=PHASES, default="rcpt", help=f"what it answers: {', '.join(PHASES)} (default: rcpt)",
        metavar="PHASE",
    )  # fmt: skip
    parser.add_argument(
        "--lines",
        action="store_true",
        help="read replies from standard input, one a line; a phase and a tab may stand before it",
    )
    parser.add_argument("--mail", nargs="+", metavar="FILE", help="read bounce mails from these files")
    parser.set_defaults(run="classify.classify_input", usage=parser.error)


def add_token(parser: Parser) -> None:
    parser.describe(
        """\
Prints the content of tracking URLs, one JSON object each. A token holds no address: it has the message's id and the
recipient's number, which lead to an address only in this installation's database. A destination that is too long for
a URL is looked up in data_dir or the database; "url" is null once it has expired.""",
        "waypost token read http://127.0.0.1:8080/c/AQF...",
    )
    actions = parser.add_actions()
    read = actions.add("read", "token.read_tokens", "print the content of tracking URLs")
    read.add_argument("url", nargs="+", metavar="URL")
