"""`waypost demo`: everything at once, on sample mail, through the real doors.

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
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from relay import tokens
from relay.cli import command, samples
from relay.cli.command import Commands, Failed
from relay.config import load
from relay.config.schema import Config
from relay.node import data_directory
from relay.rewrite.plan import Plan
from relay.store.console import accounts
from relay.store.queue import deliveries
from relay.store.store import Store
from relay.store.views import message_list

_ABOUT = """\
Starts a sandbox, sends sample mail of several kinds through real SMTP, plays the opens, clicks and the unsubscribe of
its recipients, prints the address of the console, and stays up until ^C. Nothing leaves this machine. The demo runs in
a temporary folder, on the addresses of config.toml, and deletes it at the end."""

ACCOUNT = "demo"
_RECORDED_WITHIN_S = 20.0


class Letter(NamedTuple):
    """A sample as it arrived at one recipient: the tracking URLs in it, by what they do."""

    opens: list[str]
    clicks: list[str]
    unsubscribes: list[str]


def add(commands: Commands) -> None:
    parser = commands.add_parser("demo", help="see everything at once, on sample mail", description=_ABOUT)
    parser.add_argument("--once", action="store_true", help="end when everything has been played")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    base = command.configured(arguments)
    _require_free_addresses(base)
    with tempfile.TemporaryDirectory(prefix="waypost-demo-") as folder:
        config = load.load(_write(Path(folder), base), {})
        password = secrets.token_urlsafe(9)
        with command.store(config) as store:
            store.writer.submit(
                lambda connection: accounts.set_password(connection, ACCOUNT, password, datetime.now(UTC))
            ).result()
        with _server(Path(folder)) as (server, ready):
            console = ready.rpartition("console=")[2]
            smtp = ready.partition("smtp=")[2].partition(" ")[0]
            command.say(f"sandbox is up: SMTP {smtp}, console {console}")
            with contextlib.closing(data_directory.open_store(config)) as store:
                _play(config, store, smtp)
            command.say(f"\ndemo ready console={console} user={ACCOUNT} password={password}")
            command.say("Send some of your own: swaks --server " + smtp + " --to you@example.com")
            sys.stdout.flush()
            if not arguments.once:
                command.say("^C ends the demo and deletes its data.")
                sys.stdout.flush()
                with contextlib.suppress(KeyboardInterrupt):
                    server.wait()
    return 0


def _require_free_addresses(base: Config) -> None:
    """Raises Failed if somebody listens there: a server would wait for him to go, for seconds, and then say less."""
    for address in (base.listen[0].address, base.tracking.listen, base.console.listen):
        with contextlib.suppress(OSError), socket.create_connection((address.host, address.port), timeout=1):
            raise Failed(
                f"something listens on {address} already: stop the server that runs here for the time of the demo, "
                "or name other addresses in config.toml"
            )


def _write(folder: Path, base: Config) -> Path:
    """A configuration for the demo, on the addresses of the user's own."""
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
def _server(folder: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
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
                raise Failed(f"the demo's server did not start: {lines[-1]}")
            yield server, ready
        finally:
            server.terminate()
            server.wait()
            signal.signal(signal.SIGTERM, previous)


def _play(config: Config, store: Store, smtp: str) -> None:
    sent: dict[str, str] = {}
    for sample in samples.ALL:
        heard = _send(smtp, sample)
        command.say(f"{'sent':<12}{sample.key:<12}{f'to {_shown(sample.recipients)}':<44}{heard}")
        sent[sample.key] = sample.subject
    ids = _ids(store, set(sent.values()))
    for act in samples.PLAY:
        letter = _letter(config, store, ids[sent[act.key]], act.recipient)
        urls = {"open": letter.opens, "click": letter.clicks, "unsubscribe": letter.unsubscribes}[act.what]
        for url in urls[: act.links]:
            answer = _visit(url, act.user_agent, post=act.what == "unsubscribe")
            command.say(f"{act.what:<12}{act.key:<12}{act.who:<44}{answer}")
    again = samples.ALL[0]
    command.say(f"{'sent':<12}{again.key:<12}{'again; one has unsubscribed and gets none':<44}{_send(smtp, again)}")


def _ids(store: Store, subjects: set[str]) -> dict[str, str]:
    """The messages by subject. What a slow disk had the server journal is there seconds later."""
    end = time.monotonic() + _RECORDED_WITHIN_S
    while True:
        with store.connect() as connection:
            ids = {
                line.subject: line.id for line in message_list.list_messages(connection, 2 * len(subjects)).items
            }  # and notices
        if ids.keys() >= subjects:
            return ids
        if time.monotonic() > end:
            raise Failed("the demo's mails are not in the database; is the disk very slow?")
        time.sleep(0.1)


def _shown(recipients: tuple[str, ...]) -> str:
    return recipients[0] + (f" and {len(recipients) - 1} more" if len(recipients) > 1 else "")


def _send(smtp: str, sample: samples.Sample) -> str:
    """Sends by SMTP. Returns what the client hears."""
    host, _, port = smtp.rpartition(":")
    with smtplib.SMTP(host.strip("[]"), int(port), local_hostname="demo.example") as client:
        client.ehlo()
        client.mail(sample.sender)
        for recipient in sample.recipients:
            client.rcpt(recipient)
        code, text = client.data(sample.octets)
        return f"{code} {text.decode('ascii', 'replace')}"


def _letter(config: Config, store: Store, message_id: str, recipient: int) -> Letter:
    """A message as it arrived at its n-th recipient."""
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
    return Letter(found[b"o"], found[b"c"], found[b"u"])


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:  # the redirect's target is not ours to visit
        return None


_OPENER = urllib.request.build_opener(_Stay, urllib.request.ProxyHandler({}))


def _visit(url: str, user_agent: str, *, post: bool) -> str:
    body = b"List-Unsubscribe=One-Click" if post else None
    request = urllib.request.Request(url, data=body, headers={"User-Agent": user_agent})  # noqa: S310  our own URL
    try:
        with _OPENER.open(request, timeout=10) as answer:
            return f"{answer.status} {answer.headers.get('Content-Type', '')}"
    except urllib.error.HTTPError as answer:
        with answer:
            return f"{answer.code} {answer.headers.get('Location', '')}"
