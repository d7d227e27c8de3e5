"""`waypost demo`: a sandbox at work, with sample mail through real SMTP and HTTP.

Starts a sandbox server in a folder of its own, sends sample mail by SMTP, and plays what recipients and
their mail programs do with it by HTTP: opens, clicks, an unsubscribe, a scanner that follows every link.
"""

import argparse
import contextlib
import email
import os
import re
import secrets
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import httpx

from relay import tokens
from relay.cli import command, output, samples
from relay.cli.command import CommandError
from relay.config import load
from relay.config.schema import Config
from relay.node import data_directory
from relay.rewrite.plan import Plan
from relay.store.console import accounts
from relay.store.queue import deliveries
from relay.store.store import Store
from relay.store.views import message_list

ACCOUNT = "demo"
_RECORD_TIMEOUT_S = 20.0


class TrackedUrls(NamedTuple):
    """The tracking URLs of a sample as one recipient got it, by what they do."""

    opens: list[str]
    clicks: list[str]
    unsubscribes: list[str]


def run_demo(arguments: argparse.Namespace) -> int:
    base = command.load_config(arguments)
    _require_free_addresses(base)
    with tempfile.TemporaryDirectory(prefix="waypost-demo-") as folder:
        config = load.load(_write_config(Path(folder), base), {})
        password = secrets.token_urlsafe(9)
        with command.open_store(config) as store:
            store.writer.submit(
                lambda connection: accounts.set_password(connection, ACCOUNT, password, datetime.now(UTC))
            ).result()
        with _run_server(Path(folder)) as (server, ready):
            console = ready.rpartition("console=")[2]
            smtp = ready.partition("smtp=")[2].partition(" ")[0]
            output.print_line(f"sandbox is up: SMTP {smtp}, console {console}")
            with contextlib.closing(data_directory.open_store(config)) as store:
                _play_script(config, store, smtp)
            output.print_line(f"\ndemo ready console={console} user={ACCOUNT} password={password}")
            output.print_line("Send some of your own: swaks --server " + smtp + " --to you@example.com")
            sys.stdout.flush()
            if not arguments.once:
                output.print_line("^C ends the demo and deletes its data.")
                sys.stdout.flush()
                with contextlib.suppress(KeyboardInterrupt):
                    server.wait()
    return 0


def _require_free_addresses(base: Config) -> None:
    """Raises CommandError if something listens there already: the server would wait for the port."""
    for address in (base.listen[0].address, base.tracking.listen, base.console.listen):
        with contextlib.suppress(OSError), socket.create_connection((address.host, address.port), timeout=1):
            raise CommandError(
                f"something listens on {address} already: stop the server that runs here for the time of the demo, "
                "or name other addresses in config.toml"
            )


def _write_config(folder: Path, base: Config) -> Path:
    """Writes the demo's configuration, with the addresses of the user's own."""
    path = folder / "config.toml"
    path.write_text(
        f'[relay]\ndata_dir = "data"\n'
        f'[[listen]]\naddress = "{base.listen[0].address}"\n'
        f'[tracking]\npublic_url = "{base.tracking.public_url}"\nlisten = "{base.tracking.listen}"\n'
        f'[console]\nlisten = "{base.console.listen}"\n',
        "utf-8",
    )
    return path


@contextlib.contextmanager
def _run_server(folder: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """The real server, as a process of its own, and its ready line."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")}
    with (folder / "server.log").open("w+") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "relay", "--config", str(folder / "config.toml"), "serve"],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
        )
        previous = signal.signal(signal.SIGTERM, lambda *_: server.terminate())
        try:
            assert server.stdout is not None
            ready = server.stdout.readline().strip()
            if not ready.startswith("ready "):
                server.wait()
                log.seek(0)
                lines = log.read().strip().splitlines() or ["no reason given"]
                raise CommandError(f"the demo's server did not start: {lines[-1]}")
            yield server, ready
        finally:
            server.terminate()
            server.wait()
            signal.signal(signal.SIGTERM, previous)


def _play_script(config: Config, store: Store, smtp: str) -> None:
    sent: dict[str, str] = {}
    for sample in samples.SAMPLES:
        reply = _send_sample(smtp, sample)
        output.print_line(f"{'sent':<12}{sample.key:<12}{f'to {_format_recipients(sample.recipients)}':<44}{reply}")
        sent[sample.key] = sample.subject
    ids = _wait_for_messages(store, set(sent.values()))
    for action in samples.SCRIPT:
        tracked = _find_tracked_urls(config, store, ids[sent[action.key]], action.recipient)
        urls = {"open": tracked.opens, "click": tracked.clicks, "unsubscribe": tracked.unsubscribes}[action.kind]
        for url in urls[: action.links]:
            answer = _visit_url(url, action.user_agent, post=action.kind == "unsubscribe")
            output.print_line(f"{action.kind:<12}{action.key:<12}{action.recipient_name:<44}{answer}")
    again = samples.SAMPLES[0]
    output.print_line(
        f"{'sent':<12}{again.key:<12}{'again; one has unsubscribed and gets none':<44}{_send_sample(smtp, again)}"
    )


def _wait_for_messages(store: Store, subjects: set[str]) -> dict[str, str]:
    """The messages by subject. Facts that went to the journal, because the disk is slow, are there seconds later."""
    end = time.monotonic() + _RECORD_TIMEOUT_S
    while True:
        with store.connect() as connection:
            ids = {
                line.subject: line.id for line in message_list.list_messages(connection, 2 * len(subjects)).items
            }  # and notices
        if ids.keys() >= subjects:
            return ids
        if time.monotonic() > end:
            raise CommandError("the demo's mails are not in the database; is the disk very slow?")
        time.sleep(0.1)


def _format_recipients(recipients: tuple[str, ...]) -> str:
    return recipients[0] + (f" and {len(recipients) - 1} more" if len(recipients) > 1 else "")


def _send_sample(smtp: str, sample: samples.Sample) -> str:
    """Sends by SMTP. Returns the reply to the dot."""
    host, _, port = smtp.rpartition(":")
    with smtplib.SMTP(host.strip("[]"), int(port), local_hostname="demo.example") as client:
        client.ehlo()
        client.mail(sample.sender)
        for recipient in sample.recipients:
            client.rcpt(recipient)
        code, text = client.data(sample.octets)
        return f"{code} {text.decode('ascii', 'replace')}"


def _find_tracked_urls(config: Config, store: Store, message_id: str, recipient: int) -> TrackedUrls:
    """The tracking URLs of a message as its n-th recipient got it."""
    public_url = config.tracking.public_url
    minter = tokens.Minter(data_directory.open_key_ring(config), public_url)
    url = rb"%b/([ocu])/[A-Za-z0-9_-]++(?:\.gif)?" % re.escape(public_url.encode("ascii"))
    with store.connect() as connection:
        fetched = deliveries.find_with_content(connection, message_id)
    assert fetched is not None
    message, octets = fetched

    mint = minter.url_factory(message_id, recipient)
    found: dict[bytes, list[str]] = {b"o": [], b"c": [], b"u": []}
    for part in email.message_from_bytes(Plan.from_json(message.plan).render(octets, mint)).walk():
        if part.get_content_type() == "text/html":
            for hit in re.finditer(url, bytes(part.get_payload(decode=True))):
                found[hit[1]].append(hit[0].decode("ascii"))
    return TrackedUrls(found[b"o"], found[b"c"], found[b"u"])


def _visit_url(url: str, user_agent: str, *, post: bool) -> str:
    """Makes a recipient's request and follows no redirect. Returns the status, and the redirect's target or the content
    type."""
    form = {"List-Unsubscribe": "One-Click"} if post else None
    headers = {"User-Agent": user_agent}
    answer = httpx.request("POST" if post else "GET", url, data=form, headers=headers, timeout=10, trust_env=False)
    return f"{answer.status_code} {answer.headers.get('content-type' if answer.is_success else 'location', '')}"
