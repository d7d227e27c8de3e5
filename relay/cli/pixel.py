"""`waypost pixel`: stand-alone pixels."""

import argparse
from datetime import UTC, datetime

from relay.cli import command, output
from relay.cli.command import CommandError
from relay.node import data_directory
from relay.store.tracking import pixels
from relay.store.views import json_objects


def create_pixel(arguments: argparse.Namespace) -> int:
    config = command.load_config(arguments)
    ring = data_directory.open_key_ring(config)
    with command.open_store(config) as store:
        making = store.writer.submit(
            lambda connection: pixels.create_pixel(connection, ring, arguments.name, datetime.now(UTC))
        )
        try:
            made = making.result()
        except ValueError as error:
            raise CommandError(str(error)) from None
    output.print_line(f"{made.id}  {pixels.pixel_url(config.tracking.public_url, made.token)}")
    return 0


def list_pixels(arguments: argparse.Namespace) -> int:
    config = command.load_config(arguments)
    with command.open_store(config) as store, store.connect() as connection:
        for seen in pixels.list_pixels(connection, arguments.limit):
            output.print_json(json_objects.pixel_object(seen, config.tracking.public_url))
    return 0


def show_pixel(arguments: argparse.Namespace) -> int:
    config = command.load_config(arguments)
    with command.open_store(config) as store, store.connect() as connection:
        seen = pixels.find_pixel(connection, arguments.pixel)
        if seen is None:
            raise CommandError(f"there is no pixel {arguments.pixel}")
        output.print_json(
            json_objects.pixel_object(seen, config.tracking.public_url, pixels.list_pixel_log(connection, seen.id))
        )
    return 0


def remove_pixel(arguments: argparse.Namespace) -> int:
    with command.open_store(command.load_config(arguments)) as store:
        with store.connect() as connection:
            seen = pixels.find_pixel(connection, arguments.pixel)
        if seen is None:
            raise CommandError(f"there is no pixel {arguments.pixel}")
        store.writer.submit(lambda connection: pixels.remove_pixel(connection, seen.id)).result()
    output.print_line(f"removed {seen.id}")
    return 0
