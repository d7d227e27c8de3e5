"""`python -m relay`: the same as `waypost`."""

from relay.cli.main import run

run()
