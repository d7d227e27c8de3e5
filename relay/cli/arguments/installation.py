"""The arguments of `keys`, `user`, `alerts`, `api-key`, `backup` and `restore`: the installation itself."""

from relay.cli.arguments import argument_types, lists
from relay.cli.arguments.parser import Parser
from relay.store.console.roles import AccountRole


def add_keys(parser: Parser) -> None:
    parser.describe(
        """\
The newest key signs new mail; older keys go on reading the links of mail already sent, so never delete the key file
while people may still click. A running server uses a new key within seconds.""",
        "waypost keys list",
        "waypost keys rotate",
        "waypost keys export keys.sealed          # asks for a passphrase",
        "waypost keys import keys.sealed          # on another machine",
    )
    actions = parser.add_actions()
    listing = actions.add("list", "keys.list_keys", "their ages, and what depends on each")
    lists.add_json(listing)
    actions.add("rotate", "keys.rotate_keys", "make a new key that signs from now on")
    revoking = actions.add("revoke", "keys.revoke_key", "revoke a key: all its links end")
    revoking.describe(
        """\
For a key that somebody else may have: anybody who has keys.json can make links under your name for ever. The key's
secret is deleted in this file; delete it in copies and backups yourself. If it was the key that signs, a new one is
made. A running server follows within seconds, for console sessions at its next start."""
    )
    revoking.add_argument("id", type=argument_types.key_id, metavar="ID", help="as `waypost keys list` has it")
    revoking.add_argument("--yes", action="store_true", help="do it: mail already sent loses its links")
    exporting = actions.add("export", "keys.export_keys", "write all keys, sealed by a passphrase, for other machines")
    exporting.describe(
        """\
Writes all keys into a file that a passphrase seals (Argon2id, ChaCha20-Poly1305). It asks for the passphrase, or reads
a line of standard input. Each machine that answers links of the same mail needs the same keys; export and import them
again after each rotate or revoke.""",
        "waypost keys export keys.sealed",
        "waypost keys export keys.sealed < passphrase.txt",
    )
    exporting.add_argument("file", nargs="?", default="-", metavar="FILE", help="default: standard output")
    importing = actions.add("import", "keys.import_keys", "use the keys that another machine exported")
    importing.describe(
        """\
Reads a file that `waypost keys export` wrote, with its passphrase (asked for, or a line of standard input). Keys that
are here already must be among those of the file, or the links that they signed would end; --replace does it
nevertheless, and keeps the old file beside the new one. A running server follows within seconds.""",
        "waypost keys import keys.sealed",
    )
    importing.add_argument("file", metavar="FILE")
    importing.add_argument("--replace", action="store_true", help="also where keys are here that the file has not")


def add_user(parser: Parser) -> None:
    parser.describe(
        """\
add asks for a password (or reads a line of standard input). By default the account is the console's; one that exists
gets the new password, which signs it out everywhere. With --smtp nothing is stored: the table for config.toml is
printed.

A viewer reads. An operator may also act on mail in the queue, send it again, suppress and allow addresses, and make
pixels. An admin may also change accounts, API keys and webhooks. A new account is an admin where no --role says
otherwise.""",
        "waypost user add ann --role operator",
        "waypost user role ann viewer",
        "waypost user add shop --smtp >> config.toml",
        "waypost user list",
        "waypost user remove ann",
    )
    actions = parser.add_actions()
    adding = actions.add("add", "user.add_account", "add an account, or change its password")
    adding.add_argument("name", metavar="NAME")
    adding.add_argument("--smtp", action="store_true", help="an SMTP user: print its [[access.user]] table")
    adding.add_argument(
        "--role",
        choices=list(AccountRole),
        metavar="ROLE",
        help=f"what it may do in the console: {', '.join(AccountRole)} (default: admin, or as it is)",
    )
    changing = actions.add("role", "user.change_role", "change what a console account may do, at once")
    changing.add_argument("name", metavar="NAME")
    changing.add_argument("role", choices=list(AccountRole), metavar="ROLE", help=", ".join(AccountRole))
    listing = actions.add("list", "user.list_accounts", "accounts of the console and of SMTP")
    lists.add_json(listing)
    removing = actions.add("remove", "user.remove_account", "remove a console account, and end its sessions")
    removing.add_argument("name", metavar="NAME")
    removing.add_argument("--yes", action="store_true", help="do not ask, also if it is the last one")


def add_alerts(parser: Parser) -> None:
    parser.describe(
        """\
[alerts] urls says where Waypost sends alerts: upstreams that are out, mail that waits, disabled webhooks and a full
disk. This sends a test to each of them. It needs apprise: pip install 'waypost[alerts]'.""",
        "waypost alerts test",
    )
    actions = parser.add_actions()
    actions.add("test", "alerts.send_tests", "send a test to each URL")


def add_api_key(parser: Parser) -> None:
    parser.describe(
        """\
Programs that use the API send "Authorization: Bearer KEY". A key is shown once, when it is made, and stored as a hash.
A revoked key ends at once.

The scope read may read everything, and write may change all but the keys; messages, suppressions, queue, consent,
pixels and webhooks may each read and change what they name; metrics may read /metrics, and audit who changed what.
A key that may change webhooks can have all events sent anywhere.
Without --scope a key may do everything.""",
        "waypost api-key create shop --scope read --scope consent --expires 90d",
        "waypost api-key list",
        "waypost api-key revoke shop",
    )
    actions = parser.add_actions()
    creating = actions.add("create", "api_key.create_key", "make a key and print it, this once")
    creating.add_argument("name", metavar="NAME", help="who will use it")
    creating.add_argument(
        "--scope",
        action="append",
        type=argument_types.make_word_list_type(argument_types.SCOPES, "scope"),
        metavar="SCOPE",
        help=f"what it may do: {', '.join(argument_types.SCOPES)}; more of them with commas, or again (default: all)",
    )
    creating.add_argument(
        "--expires", type=argument_types.expiry, metavar="TIME", help="after 12h, 90d …, or on 2027-12-31 (UTC)"
    )
    listing = actions.add("list", "api_key.list_keys", "their names, scopes and times")
    lists.add_json(listing)
    revoking = actions.add("revoke", "api_key.revoke_key", "end a key at once")
    revoking.add_argument("name", metavar="NAME")


def add_backup(parser: Parser) -> None:
    parser.describe(
        """\
Writes database, keys, journal and all else in [relay] data_dir into one archive (tar; packed, if its name ends in .gz
or .tgz). It is consistent while the server runs, and takes nothing from it but the disk's time. With PostgreSQL the
database is not in it: run pg_dump behind it. config.toml is not in it either.

Keep the file as safe as the originals: it has mail, addresses and keys.""",
        "waypost backup waypost.tar.gz",
        "waypost backup /backup/waypost-$(date +%F).tar",
    )
    parser.add_argument("file", metavar="FILE", help="the archive; one that is there is replaced")
    parser.set_defaults(run="backup.write_backup")


def add_restore(parser: Parser) -> None:
    parser.describe(
        """\
Brings back what `waypost backup` wrote, into [relay] data_dir, while no server runs on it. The archive is checked
first. What is there already stays where --replace is not given; with it, it is moved into a folder replaced-TIME.

Mail that waited at the time of the backup is attempted again, also what was delivered since. Look at
`waypost queue list` before the start, and drop what must not go out twice.""",
        "waypost restore waypost.tar.gz",
        "waypost restore --replace /backup/waypost-2026-11-27.tar",
    )
    parser.add_argument("file", metavar="FILE", help="the archive")
    parser.add_argument("--replace", action="store_true", help="put aside an installation that is there")
    parser.set_defaults(run="backup.restore_backup")
