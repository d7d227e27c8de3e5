"""`waypost api-key`: the keys of the JSON API."""

import argparse
from datetime import UTC, datetime, time

from relay.cli import command
from relay.cli.command import CommandError, Commands
from relay.config import values
from relay.store.console import api_keys

_DESCRIPTION = """\
Programs that use the API send "Authorization: Bearer KEY". A key is shown once, when it is made, and stored as a hash.
A revoked key ends at once.

  waypost api-key create shop --scope consent --scope read --expires 90d
  curl -H "Authorization: Bearer wp_..." http://127.0.0.1:8081/api/v1/pixels

The scope read may read everything; messages, suppressions, queue, consent, pixels and webhooks may each read and change
what they name. A key that may change webhooks can have all events sent anywhere. Without --scope a key may do
everything."""


def add_command(commands: Commands) -> None:
    parser = commands.add_parser("api-key", help="make, list or revoke keys of the JSON API", description=_DESCRIPTION)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    creating = actions.add_parser("create", help="make a key and print it, this once")
    creating.add_argument("name", help="who will use it")
    creating.add_argument(
        "--scope",
        action="append",
        type=_parse_scopes,
        metavar="SCOPE",
        help=f"what it may do: {', '.join(api_keys.SCOPES)}; more of them with commas, or again (default: all)",
    )
    creating.add_argument(
        "--expires", type=_parse_expiry, metavar="TIME", help="after 12h, 90d …, or on 2027-12-31 (UTC)"
    )
    creating.set_defaults(run=_create_key)
    listing = actions.add_parser("list", help="their names, scopes and times, one JSON object a line")
    listing.set_defaults(run=_list_keys)
    revoking = actions.add_parser("revoke", help="end a key at once")
    revoking.add_argument("name")
    revoking.set_defaults(run=_revoke_key)


def _create_key(arguments: argparse.Namespace) -> int:
    scopes = sorted({scope for some in arguments.scope or [[api_keys.ALL]] for scope in some})
    with command.open_store(command.load_config(arguments)) as store:
        key = store.writer.submit(
            lambda connection: api_keys.create_key(
                connection, arguments.name, datetime.now(UTC), scopes, arguments.expires
            )
        ).result()
    if key is None:
        raise CommandError(f"there is a key named {arguments.name}; revoke it first, or choose another name")
    command.print_line(key)
    return 0


def _list_keys(arguments: argparse.Namespace) -> int:
    with command.open_store(command.load_config(arguments)) as store, store.connect() as connection:
        for row in api_keys.list_keys(connection):
            command.print_json(dict(row))
    return 0


def _revoke_key(arguments: argparse.Namespace) -> int:
    with command.open_store(command.load_config(arguments)) as store:
        is_gone = store.writer.submit(lambda connection: api_keys.revoke_key(connection, arguments.name)).result()
    if not is_gone:
        raise CommandError(f"there is no key named {arguments.name}")
    command.print_line(f"{arguments.name} is revoked")
    return 0


def _parse_scopes(text: str) -> list[str]:
    scopes = text.split(",")
    if unknown := [scope for scope in scopes if scope not in api_keys.SCOPES]:
        raise argparse.ArgumentTypeError(f"there is no scope {unknown[0]!r}; one of {', '.join(api_keys.SCOPES)}")
    return scopes


def _parse_expiry(text: str) -> datetime:
    now = datetime.now(UTC)
    try:
        at = now + values.read_duration(text)
    except ValueError:
        try:
            at = datetime.combine(datetime.fromisoformat(text).date(), time(23, 59, 59), UTC)
        except ValueError:
            raise argparse.ArgumentTypeError('must be a duration such as "90d", or a day such as 2027-12-31') from None
    if at <= now:
        raise argparse.ArgumentTypeError("that is past already")
    return at
