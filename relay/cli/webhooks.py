"""`waypost webhooks`: who is told of events, how that went, and telling it again."""

import argparse
import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

import sqlalchemy as sa
from pydantic import ValidationError

from relay import ids, tokens, webhook_format, webhook_signatures
from relay.cli import command
from relay.cli.command import CommandError, Commands
from relay.config.schema import Config
from relay.config.webhook import WebhookConfig as Configured
from relay.delivery.webhooks import payload
from relay.delivery.webhooks.request import WebhookClient, WebhookResponse
from relay.delivery.webhooks.sender import make_endpoint
from relay.node import data_directory
from relay.store.database.webhook_tables import WebhookRow
from relay.store.store import Store
from relay.store.views import json_objects, webhook_event, webhook_objects
from relay.store.webhooks import endpoints

T = TypeVar("T")

_DESCRIPTION = """\
Endpoints that get each event as it happens: those of config.toml, and those that are added here, in the console or by
the API. Each request is signed (https://www.standardwebhooks.com), logged, and repeated for a day until the endpoint
accepts it.

  waypost webhooks add https://app.example.com/hooks/mail --events bounced,complained
  waypost webhooks test ID
  waypost webhooks log ID --failed
  waypost webhooks replay ID --since 12h

With --format postmark, sendgrid or mailgun, handlers that were written for those providers work unchanged."""


def add_command(commands: Commands) -> None:
    parser = commands.add_parser(
        "webhooks", help="where events are sent: list, add, log, replay …", description=_DESCRIPTION
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="all webhooks and their state, one JSON object a line")
    listing.set_defaults(run=_list_webhooks)
    adding = actions.add_parser("add", help="add a webhook; prints it with its secret, this once")
    adding.add_argument("url", metavar="URL", help="http://user:password@… is sent as basic authentication")
    adding.add_argument("--events", default="*", metavar="TYPES", help="bounced,complained … (default: all)")
    adding.add_argument("--format", choices=webhook_format.FORMATS, default=webhook_format.WAYPOST)
    adding.add_argument(
        "--secret",
        default="",
        help="whsec_… or any text (default: a new one); - asks for it, or reads a line of standard input, so that the "
        "list of processes does not show it",
    )
    adding.add_argument(
        "--machines", action="store_true", help="in the formats of providers: send hits of machines too"
    )
    adding.set_defaults(run=_add_webhook)
    for name, run, help_ in (
        ("remove", _remove_webhook, "remove a webhook, with its log and its waiting events"),
        ("enable", _enable_webhook, "send events again, first those that still wait"),
        ("disable", _disable_webhook, "send nothing until it is enabled"),
        ("rotate", _rotate_secret, "make a new secret and print it; the old one signs beside it for a day"),
        ("test", _test_webhook, "send a made-up event now, and show the answer"),
    ):
        action = actions.add_parser(name, help=help_, description=help_)
        action.add_argument("webhook", metavar="ID")
        action.set_defaults(run=run)
    logging = actions.add_parser("log", help="its latest requests and their answers, one JSON object a line")
    logging.add_argument("webhook", metavar="ID")
    logging.add_argument("--failed", action="store_true", help="only requests that failed")
    logging.add_argument("--limit", type=command.positive_count, default=100, metavar="N")
    logging.set_defaults(run=_print_log)
    replaying = actions.add_parser("replay", help="send events again: one, or all of the last hours")
    replaying.add_argument("webhook", metavar="ID")
    which = replaying.add_mutually_exclusive_group(required=True)
    which.add_argument("--event", metavar="EVENT", help="the event of that id")
    which.add_argument("--since", type=command.duration, metavar="TIME", help="those of the last 30m, 12h, 7d …")
    replaying.set_defaults(run=_replay_events)
    secret = actions.add_parser("secret", help="print a new secret, to put into config.toml")
    secret.set_defaults(run=_print_new_secret)


def _print_new_secret(_: argparse.Namespace) -> int:
    command.print_line(webhook_signatures.new_secret())
    return 0


def _list_webhooks(arguments: argparse.Namespace) -> int:
    config = command.load_config(arguments)
    ring = data_directory.open_key_ring(config)
    with command.open_store(config) as store:
        _sync_webhooks(store, config)
        with store.connect() as connection:
            for one in endpoints.list_webhook_status(connection):
                command.print_json(webhook_objects.webhook_object(one, ring))
    return 0


def _add_webhook(arguments: argparse.Namespace) -> int:
    config = command.load_config(arguments)
    is_asked_for = arguments.secret == "-"  # noqa: S105  no secret
    try:
        given = Configured.model_validate(
            {
                "url": arguments.url,
                "events": arguments.events.split(","),
                "format": arguments.format,
                "secret": command.ask_for_secret("Secret: ") if is_asked_for else arguments.secret,
                "machines": arguments.machines,
            }
        )
    except ValidationError as error:
        raise CommandError("; ".join(f"{one['loc'][0]}: {one['msg']}" for one in error.errors())) from None
    ring = data_directory.open_key_ring(config)

    def make(connection: sa.Connection) -> json_objects.JsonObject:
        made = endpoints.add_webhook(connection, given, datetime.now(UTC), endpoints.COMMAND)
        return webhook_objects.webhook_object(endpoints.list_webhook_status(connection, [made.id])[0], ring) | {
            "secret": made.secret
        }

    with command.open_store(config) as store:
        command.print_json(store.writer.submit(make).result())
    return 0


def _remove_webhook(arguments: argparse.Namespace) -> int:
    return _change_webhook(
        arguments, lambda connection: endpoints.remove_webhook(connection, arguments.webhook), lambda _: "removed"
    )


def _enable_webhook(arguments: argparse.Namespace) -> int:
    return _change_webhook(
        arguments,
        lambda connection: endpoints.enable_webhook(connection, arguments.webhook, datetime.now(UTC)),
        lambda owed: f"enabled; {owed} events are told now",
    )


def _disable_webhook(arguments: argparse.Namespace) -> int:
    return _change_webhook(
        arguments, lambda connection: endpoints.disable_webhook(connection, arguments.webhook), lambda _: "disabled"
    )


def _rotate_secret(arguments: argparse.Namespace) -> int:
    return _change_webhook(
        arguments,
        lambda connection: endpoints.rotate_secret(connection, arguments.webhook, datetime.now(UTC)),
        lambda made: made,
    )


def _print_log(arguments: argparse.Namespace) -> int:
    with command.open_store(command.load_config(arguments)) as store, store.connect() as connection:
        _get_webhook(connection, arguments.webhook)
        for one in endpoints.list_webhook_log(connection, arguments.webhook, arguments.limit, failed=arguments.failed):
            command.print_json(webhook_objects.webhook_log_object(one))
    return 0


def _replay_events(arguments: argparse.Namespace) -> int:
    now = datetime.now(UTC)
    with command.open_store(command.load_config(arguments)) as store:
        with store.connect() as connection:
            _get_webhook(connection, arguments.webhook)
        if arguments.event:
            again = store.writer.submit(
                lambda connection: endpoints.replay_event(connection, arguments.webhook, arguments.event, now)
            )
            if not again.result():
                raise CommandError(f"there is no event {arguments.event}")
            command.print_line("1 event is sent again")
            return 0
        count, after = 0, ""
        while True:
            chunk, after = store.writer.submit(
                lambda connection, after=after: endpoints.replay_events(  # type: ignore[misc]
                    connection, arguments.webhook, now, now - arguments.since, now, after
                )
            ).result()
            count += chunk
            if not after:
                break
        command.print_line(f"{count} events are sent again")
    return 0


def _test_webhook(arguments: argparse.Namespace) -> int:
    config = command.load_config(arguments)
    ring = data_directory.open_key_ring(config)
    with command.open_store(config) as store:
        _sync_webhooks(store, config)
        with store.connect() as connection:
            row = _get_webhook(connection, arguments.webhook)
    answer = asyncio.run(_send_test_event(config, ring, row))
    command.print_json({"code": answer.code, "error": answer.error, "ms": answer.took_ms, "response": answer.text})
    return 0 if answer.is_success else 1


async def _send_test_event(config: Config, ring: tokens.KeyRing, row: WebhookRow) -> WebhookResponse:
    now = datetime.now(UTC)
    to = make_endpoint(row, {endpoints.configured_id(one): one for one in config.webhook}, ring, now)
    if to is None:
        raise CommandError(f"{row.id} is in another configuration file; its secret is not known here")
    request = payload.compose_request(
        to, webhook_event.sample_event(ids.new(now), ids.new(now), now), int(now.timestamp())
    )
    assert request is not None  # every format has a word for what is delivered
    client = WebhookClient(config.webhook_networks)
    try:
        return await client.send(to, request)
    finally:
        await client.close()


def _change_webhook(
    arguments: argparse.Namespace, work: Callable[[sa.Connection], T], describe: Callable[[T], str]
) -> int:
    config = command.load_config(arguments)
    with command.open_store(config) as store:
        _sync_webhooks(store, config)
        try:
            done = store.writer.submit(work).result()
        except endpoints.UnknownWebhookError:
            raise _unknown_webhook_error(arguments.webhook) from None
        except ValueError as error:
            raise CommandError(str(error)) from None
    command.print_line(describe(done))
    return 0


def _sync_webhooks(store: Store, config: Config) -> None:
    """What config.toml says now, should no server have read it yet."""
    store.writer.submit(
        lambda connection: endpoints.sync_from_config(connection, config.webhook, datetime.now(UTC))
    ).result()


def _get_webhook(connection: sa.Connection, webhook: str) -> WebhookRow:
    try:
        return endpoints.get_webhook(connection, webhook)
    except endpoints.UnknownWebhookError:
        raise _unknown_webhook_error(webhook) from None


def _unknown_webhook_error(webhook: str) -> CommandError:
    return CommandError(f"there is no webhook {webhook}; waypost webhooks list   shows them all")
