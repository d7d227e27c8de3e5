"""The arguments of `keys`, `user` and `api-key`: the installation itself."""

from relay.cli import argument_types
from relay.cli.parser import Parser


def add_keys(parser: Parser) -> None:
    parser.describe(
        """\
The newest key signs new mail; older keys go on reading the links of mail already sent, so never delete the key file
while people may still click. A running server uses a new key within seconds.""",
        "waypost keys list",
        "waypost keys rotate",
    )
    actions = parser.add_actions()
    listing = actions.add_parser("list", help="their ages, and what depends on each")
    listing.set_defaults(run="keys.list_keys")
    actions.add_parser("rotate", help="make a new key that signs from now on").set_defaults(run="keys.rotate_keys")
    revoking = actions.add_parser("revoke", help="revoke a key: all its links end")
    revoking.describe(
        """\
For a key that somebody else may have: whoever has keys.json can make links under your name for ever. The key's secret
is deleted in this file; delete it in copies and backups yourself. If it was the key that signs, a new one is made. A
running server follows within seconds, for console sessions at its next start."""
    )
    revoking.add_argument("id", type=argument_types.key_id, metavar="ID", help="as `waypost keys list` has it")
    revoking.add_argument("--yes", action="store_true", help="do it: mail already sent loses its links")
    revoking.set_defaults(run="keys.revoke_key")


def add_user(parser: Parser) -> None:
    parser.describe(
        """\
add asks for a password (or reads a line of standard input). By default the account is the console's; one that exists
gets the new password, which signs it out everywhere. With --smtp nothing is stored: the table for config.toml is
printed.""",
        "waypost user add ann",
        "waypost user add shop --smtp >> config.toml",
        "waypost user list",
        "waypost user remove ann",
    )
    actions = parser.add_actions()
    adding = actions.add_parser("add", help="add an account, or change its password")
    adding.add_argument("name", metavar="NAME")
    adding.add_argument("--smtp", action="store_true", help="an SMTP user: print its [[access.user]] table")
    adding.set_defaults(run="user.add_account")
    listing = actions.add_parser("list", help="the console's accounts and their ages")
    listing.set_defaults(run="user.list_accounts")
    removing = actions.add_parser("remove", help="remove a console account, and end its sessions")
    removing.add_argument("name", metavar="NAME")
    removing.set_defaults(run="user.remove_account")


def add_api_key(parser: Parser) -> None:
    parser.describe(
        """\
Programs that use the API send "Authorization: Bearer KEY". A key is shown once, when it is made, and stored as a hash.
A revoked key ends at once.

The scope read may read everything; messages, suppressions, queue, consent, pixels and webhooks may each read and
change what they name; metrics may read /metrics. A key that may change webhooks can have all events sent anywhere.
Without --scope a key may do everything.""",
        "waypost api-key create shop --scope read --scope consent --expires 90d",
        "waypost api-key list",
        "waypost api-key revoke shop",
    )
    actions = parser.add_actions()
    creating = actions.add_parser("create", help="make a key and print it, this once")
    creating.add_argument("name", metavar="NAME", help="who will use it")
    creating.add_argument(
        "--scope",
        action="append",
        type=argument_types.words_of(argument_types.SCOPES, "scope"),
        metavar="SCOPE",
        help=f"what it may do: {', '.join(argument_types.SCOPES)}; more of them with commas, or again (default: all)",
    )
    creating.add_argument(
        "--expires", type=argument_types.expiry, metavar="TIME", help="after 12h, 90d …, or on 2027-12-31 (UTC)"
    )
    creating.set_defaults(run="api_key.create_key")
    listing = actions.add_parser("list", help="their names, scopes and times")
    listing.set_defaults(run="api_key.list_keys")
    revoking = actions.add_parser("revoke", help="end a key at once")
    revoking.add_argument("name", metavar="NAME")
    revoking.set_defaults(run="api_key.revoke_key")
