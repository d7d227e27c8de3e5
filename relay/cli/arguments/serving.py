"""The arguments of `serve`, `check`, `doctor`, `config`, `demo` and `completion`: to start with."""

from relay.cli.arguments import argument_types, lists
from relay.cli.arguments.parser import Parser


def add_serve(parser: Parser) -> None:
    parser.describe(
        """\
Starts everything that config.toml describes and, when all listeners are up, prints one line:

  ready smtp=HOST:PORT[,...] tracking=URL console=URL

SIGTERM or ^C drains: transactions end, attempts finish, nothing is lost. A second one stops at once.""",
        "waypost serve",
        "waypost serve --config /etc/waypost/config.toml --only smtp --workers 4",
    )
    parser.add_argument("--only", choices=("smtp", "web"), help="start one role only")
    parser.add_argument(
        "--workers",
        type=argument_types.worker_count,
        metavar="N",
        help=f"mail processes, 1 to {argument_types.MAX_WORKERS} (default: [relay] workers)",
    )
    parser.add_argument(
        "--new-keys",
        action="store_true",
        help="start although keys.json is gone: the links of all mail sent so far end",
    )
    parser.set_defaults(run="serve.start_server")


def add_check(parser: Parser) -> None:
    parser.describe(
        """\
Reads the configuration and names every fault at once: file, table, key, and what to write instead. --online also
looks at what the configuration names, as waypost doctor does. Exit status 1 if anything is wrong.

Each [[dkim.key]] is shown as the record to publish, in the form of a zone file:

  dns   s1._domainkey.example.com. IN TXT "v=DKIM1; k=rsa; p=MII…" "…"

If a form asks for one value, join the quoted parts.""",
        "waypost check",
        "waypost check --online",
    )
    parser.add_argument("--online", action="store_true", help="also look at what the configuration names")
    _add_check_options(parser)


def add_doctor(parser: Parser) -> None:
    parser.describe(
        """\
Looks at everything that mail depends on, and says what to do about each finding: the data directory, the database, disk
and clock; certificates and their end; every upstream (connection, TLS, login, what it offers; no mail is sent); the
tracking site; and the DNS: MX of the return path, SPF, DKIM as published, DMARC with its alignment, this machine's
name. It is the same as waypost check --online. Exit status 1 if anything fails.""",
        "waypost doctor",
        "waypost doctor --domain example.com --resolver 9.9.9.9",
    )
    _add_check_options(parser)
    parser.set_defaults(online=True)


def _add_check_options(parser: Parser) -> None:
    parser.add_argument(
        "--domain",
        action="append",
        default=[],
        metavar="NAME",
        help="also look at a domain that sends, beside those of [[dkim.key]] and senders; may be repeated",
    )
    parser.add_argument(
        "--resolver", default="", metavar="IP[:PORT]", help="ask this DNS server (default: this machine's)"
    )
    lists.add_json(parser)
    parser.set_defaults(run="check.check_configuration")


def add_config(parser: Parser) -> None:
    parser.describe(
        """\
Prints config.toml as it comes with this version: every key with its default and its meaning. Delete from it what you
do not change.""",
        "waypost config > config.toml",
    )
    parser.set_defaults(run="template.print_template")


def add_demo(parser: Parser) -> None:
    parser.describe(
        """\
Starts a sandbox, sends sample mail of several kinds through real SMTP, plays the opens, clicks and the unsubscribe of
its recipients, prints the address of the console, and stays up until ^C. Nothing leaves this machine. The demo runs in
a temporary folder, on the addresses of config.toml, and deletes it at the end.""",
        "waypost demo",
        "waypost demo --once",
    )
    parser.add_argument("--once", action="store_true", help="end when everything has been played")
    parser.set_defaults(run="demo.run_demo")


def add_completion(parser: Parser) -> None:
    parser.describe(
        "Prints a script with which a shell completes commands, options and their values after a press of Tab.",
        "source <(waypost completion bash)         # now, or in ~/.bashrc",
        "waypost completion bash > ~/.local/share/bash-completion/completions/waypost",
        'waypost completion zsh > "${fpath[1]}/_waypost"',
        "waypost completion fish > ~/.config/fish/completions/waypost.fish",
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), metavar="SHELL", help="bash, zsh or fish")
    parser.set_defaults(run="completion.print_completion")
