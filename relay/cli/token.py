"""`waypost token read`: the content of tracking URLs."""

import argparse
import re

from relay import ids, tokens
from relay.cli import command, output
from relay.cli.command import CommandError
from relay.config.schema import Config
from relay.edits import Kind
from relay.node import data_directory
from relay.store.queue.long_url_files import LongUrlFiles


def read_tokens(arguments: argparse.Namespace) -> int:
    config = command.load_config(arguments)
    ring = data_directory.open_key_ring(config)
    for url in arguments.url:
        found = re.search(r"(?:^|/)([ocu])/([A-Za-z0-9_-]+)(?:\.gif|\.png)?(?:[?#].*)?$", url)
        if not found:
            raise CommandError(f"not a tracking URL: {url}")
        try:
            token = ring.read_token(Kind(found[1]), found[2])
        except tokens.InvalidTokenError as error:
            raise CommandError(f"not a token of this installation ({error}): {url}") from None
        output.print_json(
            {
                "kind": token.kind.name.lower(),
                "message": token.message,
                "recipient": None
                if token.recipient in (tokens.ANY_RECIPIENT, tokens.STANDALONE_PIXEL)
                else token.recipient,
                "link": token.link,
                "url": _find_destination(config, token),
                "minted": ids.time_of(token.message),
            }
        )
    return 0


def _find_destination(config: Config, token: tokens.Token) -> str | None:
    """Where a click leads; None if it led to a stored destination that has expired."""
    url: bytes | None = token.url
    if token.stored_reference:
        url = LongUrlFiles(config.relay.data_dir).find(token.stored_reference)
        if url is None:  # it was stored on another machine
            from relay.store.queue import long_urls  # imports the database

            with command.open_store(config, reads=True) as opened, opened.connect() as connection:
                url = long_urls.find_row(connection, token.stored_reference)
    return None if url is None else url.decode("ascii", "backslashreplace")
