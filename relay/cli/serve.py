"""`waypost serve`: the whole node, or one of its roles."""

import argparse
from pathlib import Path

from relay import log, process_log
from relay.config import load, variables
from relay.node import data_directory, server


def start_server(arguments: argparse.Namespace) -> int:
    path = load.find_file(arguments.config)
    config = load.load(path)
    if arguments.workers is not None:
        config = config.model_copy(update={"relay": config.relay.model_copy(update={"workers": arguments.workers})})
    log.start_logging(config.log.level_number, config.log.format)
    if path:
        process_log.configuration(str(path.absolute()))
    elif not config.upstream:  # with an upstream of a variable, as containers have it, nothing is missing
        process_log.no_configuration(str(Path(load.DEFAULT_FILE).absolute()))
    for variable in variables.find_ignored_variables():
        process_log.variable_ignored(variable)
    if path and (secrets := load.find_readable_secrets(path)):
        process_log.secrets_readable(str(path), ", ".join(secrets))
    if arguments.new_keys and data_directory.make_new_keys(config):
        process_log.keys_made()
    return server.serve(config, arguments.only)
