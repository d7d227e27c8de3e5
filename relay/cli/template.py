"""`waypost config`: the commented configuration."""

import argparse
import sys
from importlib import resources

from relay.cli import output


def print_template(_: argparse.Namespace) -> int:
    text = resources.files("relay.config").joinpath("template.toml").read_text("utf-8")
    output.print_line(text.rstrip("\n"))
    if sys.stdout.isatty():
        sys.stderr.write("\nto begin with: waypost config > config.toml\n")
    return 0
