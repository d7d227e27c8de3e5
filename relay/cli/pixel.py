"""`waypost pixel`: stand-alone pixels."""

import argparse
from datetime import UTC, datetime

from relay.cli import command
from relay.cli.command import CommandError, Commands
from relay.node import data_directory
from relay.store.tracking import pixels
from relay.store.views import json_objects

_DESCRIPTION = """\
A real 1x1 picture at an address of its own, to paste into a mail that does not pass through the relay. Each fetch is
logged, with what is known about who fetched it. The address never changes, and ends in .png or .gif.

  waypost pixel create "Offer to Ann"
  waypost pixel list
  waypost pixel show "Offer to Ann"
  waypost pixel remove "Offer to Ann\""""


def add_command(commands: Commands) -> None:
    parser = commands.add_parser(
        "pixel", help="make, list, show or remove stand-alone pixels", description=_DESCRIPTION
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    creating = actions.add_parser("create", help="make a pixel; prints its id and URL")
    creating.add_argument("name")
    creating.set_defaults(run=_create_pixel)
    listing = actions.add_parser("list", help="the newest first, one JSON object a line")
    listing.add_argument("--limit", type=command.positive_count, default=1000, metavar="N")
    listing.set_defaults(run=_list_pixels)
    showing = actions.add_parser("show", help="a pixel with its log; quick repeats of one visitor are one entry")
    showing.add_argument("pixel", metavar="NAME|ID")
    showing.set_defaults(run=_show_pixel)
    removing = actions.add_parser("remove", help="remove a pixel and its log; its address goes on showing a picture")
    removing.add_argument("pixel", metavar="NAME|ID")
    removing.set_defaults(run=_remove_pixel)


def _create_pixel(arguments: argparse.Namespace) -> int:
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
    command.print_line(f"{made.id}  {pixels.pixel_url(config.tracking.public_url, made.token)}")
    return 0


def _list_pixels(arguments: argparse.Namespace) -> int:
    config = command.load_config(arguments)
    with command.open_store(config) as store, store.connect() as connection:
        for seen in pixels.list_pixels(connection, arguments.limit):
            command.print_json(json_objects.pixel_object(seen, config.tracking.public_url))
    return 0


def _show_pixel(arguments: argparse.Namespace) -> int:
    config = command.load_config(arguments)
    with command.open_store(config) as store, store.connect() as connection:
        seen = pixels.find_pixel(connection, arguments.pixel)
        if seen is None:
            raise CommandError(f"there is no pixel {arguments.pixel}")
        command.print_json(
            json_objects.pixel_object(seen, config.tracking.public_url, pixels.list_pixel_log(connection, seen.id))
        )
    return 0


def _remove_pixel(arguments: argparse.Namespace) -> int:
    with command.open_store(command.load_config(arguments)) as store:
        with store.connect() as connection:
            seen = pixels.find_pixel(connection, arguments.pixel)
        if seen is None:
            raise CommandError(f"there is no pixel {arguments.pixel}")
        store.writer.submit(lambda connection: pixels.remove_pixel(connection, seen.id)).result()
    command.print_line(f"removed {seen.id}")
    return 0
