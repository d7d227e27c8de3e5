"""`waypost alerts test`: a test to each of `[alerts] urls`."""

import argparse
import asyncio

from relay.cli import command, output
from relay.cli.command import CommandError
from relay.node import alert_sender


def send_tests(arguments: argparse.Namespace) -> int:
    urls = [url.get_secret_value() for url in command.load_config(arguments).alerts.urls]
    if not urls:
        raise CommandError("[alerts] urls is empty: there is nowhere to send a test to")
    title, text = alert_sender.compose_message("this is a test", "waypost alerts test was run.")
    failed = 0
    for url in urls:
        alert_sender.target(url)  # says what is wrong with the URL itself
        is_sent = asyncio.run(alert_sender.send(url, title, text))
        failed += not is_sent
        output.print_line(f"{'sent' if is_sent else 'FAIL'}  {url.partition('://')[0]}://…")
    if failed:
        raise CommandError(f"{failed} of {len(urls)} did not take it")
    return 0
