"""`waypost webhooks`: lists, adds and tests webhooks, shows their log, and sends events again."""

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import sqlalchemy as sa
from pydantic import ValidationError

from relay import field_faults, webhook_signatures
from relay.cli import command, output, tables
from relay.cli.command import CommandError
from relay.cli.tables import Column
from relay.config.schema import Config
from relay.config.webhook import WebhookConfig as Configured
from relay.node import data_directory
from relay.store.console.audit_log import AuditedChange
from relay.store.database.webhook_tables import WebhookRow
from relay.store.store import Store
from relay.store.views import json_objects, webhook_objects
from relay.store.webhooks import endpoints

T = TypeVar("T")


def print_new_secret(_: argparse.Namespace) -> int:
    output.print_line(webhook_signatures.new_secret())
    return 0


def list_webhooks(arguments: argparse.Namespace) -> int:
    config = command.load_config(arguments)
    ring = data_directory.open_key_ring(config)
    with command.open_store(config) as store:
        store_configured(store, config)
        with store.connect() as connection:
            items = [webhook_objects.webhook_object(one, ring) for one in endpoints.list_webhook_status(connection)]
    tables.print_list(arguments, items, _COLUMNS, empty_text="no webhook; waypost webhooks add URL makes one")
    return 0


_COLUMNS = (
    Column("ID", lambda one: one["id"]),
    Column("URL", lambda one: one["url"], shrinks=True),
    Column("EVENTS", lambda one: one["events"], shrinks=True),
    Column("FORMAT", lambda one: one["format"]),
    Column("STATE", lambda one: one["state"]),
    Column("WAITING", lambda one: one["waiting"], is_number=True),
    Column("LAST", lambda one: tables.short_time((one["last"] or {}).get("at")), is_wide=True),
)
_LOG_COLUMNS = (
    Column("AT", lambda one: tables.short_time(one["at"])),
    Column("TYPE", lambda one: one["type"]),
    Column("EVENT", lambda one: one["event"]),
    Column("TRY", lambda one: one["attempt"], is_number=True),
    Column("CODE", lambda one: one["code"] or "", is_number=True),
    Column("MS", lambda one: one["ms"], is_number=True),
    Column("ERROR", lambda one: one["error"], shrinks=True),
)


def add_webhook(arguments: argparse.Namespace) -> int:
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
        faults = (f"{one['loc'][0]}: {field_faults.describe_fault(one, is_secret=True)}" for one in error.errors())
        raise CommandError("; ".join(faults)) from None
    ring = data_directory.open_key_ring(config)

    def make(connection: sa.Connection) -> json_objects.JsonObject:
        made = endpoints.add_webhook(connection, given, datetime.now(UTC), endpoints.COMMAND)
        return webhook_objects.webhook_object(endpoints.list_webhook_status(connection, [made.id])[0], ring) | {
            "secret": made.secret
        }

    with command.open_store(config) as store:
        output.print_json(
            command.write_audited(store, AuditedChange("webhook.create"), make, target=lambda made: str(made["id"]))
        )
    return 0


def remove_webhook(arguments: argparse.Namespace) -> int:
    return _change_webhook(
        arguments,
        "remove",
        lambda connection: endpoints.remove_webhook(connection, arguments.webhook),
        lambda _: "removed",
    )


def enable_webhook(arguments: argparse.Namespace) -> int:
    return _change_webhook(
        arguments,
        "enable",
        lambda connection: endpoints.enable_webhook(connection, arguments.webhook, datetime.now(UTC)),
        lambda waiting: f"enabled; {waiting} events are sent now",
    )


def disable_webhook(arguments: argparse.Namespace) -> int:
    return _change_webhook(
        arguments,
        "disable",
        lambda connection: endpoints.disable_webhook(connection, arguments.webhook),
        lambda _: "disabled",
    )


def rotate_secret(arguments: argparse.Namespace) -> int:
    return _change_webhook(
        arguments,
        "rotate",
        lambda connection: endpoints.rotate_secret(connection, arguments.webhook, datetime.now(UTC)),
        lambda made: made,
    )


def print_log(arguments: argparse.Namespace) -> int:
    with command.open_store(command.load_config(arguments), reads=True) as store, store.connect() as connection:
        get_webhook(connection, arguments.webhook)
        found = endpoints.list_webhook_log(connection, arguments.webhook, arguments.limit, only_failed=arguments.failed)
        items = [webhook_objects.webhook_log_object(one) for one in found]
    tables.print_list(arguments, items, _LOG_COLUMNS, empty_text="no request yet")
    return 0


def replay_events(arguments: argparse.Namespace) -> int:
    now = datetime.now(UTC)
    with command.open_store(command.load_config(arguments)) as store:
        with store.connect() as connection:
            get_webhook(connection, arguments.webhook)
        if arguments.event:
            again = command.write_audited(
                store,
                AuditedChange("webhook.replay", arguments.webhook),
                lambda connection: endpoints.replay_event(connection, arguments.webhook, arguments.event, now),
            )
            if not again:
                raise CommandError(f"there is no event {arguments.event}")
            output.print_line("1 event is sent again")
            return 0
        count, after = 0, ""
        while True:
            chunk, after = command.write_audited(
                store,
                AuditedChange("webhook.replay", arguments.webhook),
                partial(
                    endpoints.replay_events,
                    webhook=arguments.webhook,
                    now=now,
                    since=arguments.since,
                    until=now,
                    after=after,
                ),
                count=lambda done: done[0],
            )
            count += chunk
            if not after:
                break
        output.print_line(f"{count} events are sent again")
    return 0


def _change_webhook(
    arguments: argparse.Namespace, verb: str, work: Callable[[sa.Connection], T], describe: Callable[[T], str]
) -> int:
    config = command.load_config(arguments)
    with command.open_store(config) as store:
        store_configured(store, config)
        try:
            change = AuditedChange(f"webhook.{verb}", arguments.webhook)
            done = command.write_audited(store, change, work, count=lambda _: 1)
        except endpoints.UnknownWebhookError:
            raise _unknown_webhook_error(arguments.webhook) from None
        except ValueError as error:
            raise CommandError(str(error)) from None
    output.print_line(describe(done))
    return 0


def store_configured(store: Store, config: Config) -> None:
    """Stores the webhooks of config.toml, in case no server has read it yet."""
    store.writer.submit(
        lambda connection: endpoints.sync_from_config(connection, config.webhook, datetime.now(UTC))
    ).result()


def get_webhook(connection: sa.Connection, webhook: str) -> WebhookRow:
    """Returns a webhook. Raises CommandError."""
    try:
        return endpoints.get_webhook(connection, webhook)
    except endpoints.UnknownWebhookError:
        raise _unknown_webhook_error(webhook) from None


def _unknown_webhook_error(webhook: str) -> CommandError:
    return CommandError(f"there is no webhook {webhook}; waypost webhooks list   shows them all")
