"""`waypost pixel`: stand-alone pixels."""

import argparse
from datetime import UTC, datetime

from relay.cli import command, output, tables
from relay.cli.command import CommandError
from relay.cli.tables import Column
from relay.node import data_directory
from relay.store.console.audit_log import AuditedChange
from relay.store.tracking import pixels
from relay.store.views import json_objects


def create_pixel(arguments: argparse.Namespace) -> int:
    config = command.load_config(arguments)
    ring = data_directory.open_key_ring(config)
    with command.open_store(config) as store:
        try:
            made = command.write_audited(
                store,
                AuditedChange("pixel.create"),
                lambda connection: pixels.create_pixel(connection, ring, arguments.name, datetime.now(UTC)),
                target=lambda pixel: pixel.id,
            )
        except ValueError as error:
            raise CommandError(str(error)) from None
    url = pixels.pixel_url(config.tracking.public_url, made.token)
    if arguments.json:
        output.print_json({"id": made.id, "name": arguments.name, "url": url})
    else:
        output.print_line(f"{made.id}  {url}")
    return 0


def list_pixels(arguments: argparse.Namespace) -> int:
    config = command.load_config(arguments)
    with command.open_store(config, reads=True) as store, store.connect() as connection:
        found = pixels.list_pixels(connection, arguments.limit + 1)
    items = [json_objects.pixel_object(seen, config.tracking.public_url) for seen in found[: arguments.limit]]
    tables.print_page(
        arguments,
        items,
        _COLUMNS,
        empty_text="no pixel; waypost pixel create NAME makes one",
        has_more=len(found) > arguments.limit,
    )
    return 0


_COLUMNS = (
    Column("ID", lambda one: one["id"]),
    Column("NAME", lambda one: one["name"], shrinks=True),
    Column("OPENS", lambda one: one["opens"]["human"] + one["opens"]["proxied"], is_number=True),
    Column("MACHINES", lambda one: one["opens"]["machine"], is_number=True),
    Column("LAST", lambda one: tables.short_time(one["last_at"])),
    Column("URL", lambda one: one["url"], is_wide=True),
)


def show_pixel(arguments: argparse.Namespace) -> int:
    config = command.load_config(arguments)
    with command.open_store(config, reads=True) as store, store.connect() as connection:
        seen = pixels.find_pixel(connection, arguments.pixel)
        if seen is None:
            raise CommandError(f"there is no pixel {arguments.pixel}")
        log = pixels.list_pixel_log(connection, seen.id)
    tables.print_object(arguments, json_objects.pixel_object(seen, config.tracking.public_url, log))
    return 0


def remove_pixel(arguments: argparse.Namespace) -> int:
    with command.open_store(command.load_config(arguments)) as store:
        with store.connect() as connection:
            seen = pixels.find_pixel(connection, arguments.pixel)
        if seen is None:
            raise CommandError(f"there is no pixel {arguments.pixel}")
        command.write_audited(
            store, AuditedChange("pixel.remove", seen.id), lambda connection: pixels.remove_pixel(connection, seen.id)
        )
    output.print_line(f"removed {seen.id}")
    return 0
