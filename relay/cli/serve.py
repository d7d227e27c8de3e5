"""`waypost serve`: the whole node, or one of its roles."""

import argparse

from relay import log
from relay.config import load
from relay.node import server


def start_server(arguments: argparse.Namespace) -> int:
    path = load.find_file(arguments.config)
    config = load.load(path)
    if arguments.workers is not None:
        config = config.model_copy(update={"relay": config.relay.model_copy(update={"workers": arguments.workers})})
    log.start_logging(config.log.level_number, config.log.format)
    if path and (secrets := load.find_readable_secrets(path)):
        log.secrets_readable(str(path), ", ".join(secrets))
    return server.serve(config, arguments.only)
