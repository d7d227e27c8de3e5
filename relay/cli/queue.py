"""`waypost queue`: shows mail that waits, retries, holds or drops it."""

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from relay.cli import command, output, tables
from relay.cli.command import CommandError
from relay.store.console.audit_log import AuditedChange
from relay.store.queue import deliveries, leases, queue_actions
from relay.store.queue.queue_actions import QueueTarget
from relay.store.views import json_objects, message_detail


def show_message(arguments: argparse.Namespace) -> int:
    asked = _parse_id(arguments.id)
    with command.open_store(command.load_config(arguments), reads=True) as store, store.connect() as connection:
        numbers = None if asked.number is None else [asked.number]
        found = message_detail.read_message(connection, asked.message, numbers)
        rows = {row.number: row for row in deliveries.list_deliveries(connection, asked.message, asked.number)}
    if found is None or not rows:
        raise CommandError(f"there is no {arguments.id}")
    whole = json_objects.message_object(found)
    whole["deliveries"] = [
        json_objects.delivery_object(found.id, one) | _lease_info(rows[one.number].__dict__)
        for one in found.deliveries
        if one.number in rows
    ]
    envelope = {"reverse_path": found.reverse_path, "expires_at": found.expires_at, "octets_kept": found.has_content}
    tables.print_object(arguments, whole | envelope)
    return 0


def _lease_info(row: Any) -> dict[str, object]:  # Any: a delivery's row, as a mapping
    """Which process has leased it, and why it waits."""
    is_open = row["next_attempt_at"] is not None
    return {
        "parked": is_open and row["crashes"] >= leases.MAX_CRASHES,
        "held_at": row["held_at"],
        "crashes": row["crashes"],
        "leased_by": row["leased_by"] or None,
        "leased_until": row["leased_until"],
        "notified": row["dsn_sent"] or None,
    }


def retry_deliveries(arguments: argparse.Namespace) -> int:
    if bool(arguments.id) == arguments.all:
        arguments.usage("give an ID, or --all")
    asked = _parse_id(arguments.id) if arguments.id else None
    with command.open_store(command.load_config(arguments)) as store:
        due = command.write_audited(
            store,
            AuditedChange("queue.retry", arguments.id) if asked else AuditedChange("queue.retry_all"),
            lambda connection: (
                queue_actions.retry(connection, datetime.now(UTC), asked)
                if asked
                else queue_actions.retry_all(connection, datetime.now(UTC))
            ),
        )
    if arguments.id and not due:
        raise CommandError(f"nothing of {arguments.id} waits")
    output.print_line(f"{due} due now")
    return 0


def hold_deliveries(arguments: argparse.Namespace) -> int:
    return _change_deliveries(arguments, queue_actions.hold, "held")


def release_deliveries(arguments: argparse.Namespace) -> int:
    return _change_deliveries(arguments, queue_actions.release, "due now")


def _change_deliveries(
    arguments: argparse.Namespace, action: Callable[[sa.Connection, datetime, QueueTarget], int], result_text: str
) -> int:
    asked = _parse_id(arguments.id)
    with command.open_store(command.load_config(arguments)) as store:
        count = command.write_audited(
            store,
            AuditedChange(f"queue.{action.__name__}", arguments.id),
            lambda connection: action(connection, datetime.now(UTC), asked),
        )
    if not count:
        raise CommandError(f"nothing of {arguments.id} {'is held' if action is queue_actions.release else 'waits'}")
    output.print_line(f"{count} {result_text}")
    return 0


def drop_deliveries(arguments: argparse.Namespace) -> int:
    config = command.load_config(arguments)
    asked = _parse_id(arguments.id)

    with command.open_store(config) as store:
        done = command.write_audited(
            store,
            AuditedChange("queue.drop", arguments.id),
            lambda connection: queue_actions.drop(
                connection, datetime.now(UTC), asked, sends_dsn=arguments.notify and config.delivery.notices
            ),
            count=lambda result: result.dropped,
        )
    if not done.dropped:
        raise CommandError(f"nothing of {arguments.id} waits")
    output.print_line(f"{done.dropped} dropped")
    if done.under_way:
        output.print_line(f"{done.under_way} of them are being attempted just now, and may still arrive")
    if arguments.notify:
        output.print_line(
            f"a DSN goes to the reverse-path, for {done.notified}"
            if done.notified
            else "no DSN is sent: the mail has a null reverse-path, is bulk, or asked for none"
        )
    return 0


def _parse_id(text: str) -> QueueTarget:
    try:
        return queue_actions.parse_target(text)
    except ValueError:
        raise CommandError(f"{text} is no ID: 20 characters of a message, or those, a dot and a number") from None
