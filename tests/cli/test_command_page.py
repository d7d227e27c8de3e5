"""Every command of docs/command-line.md runs, as it stands there, against a server that has had mail."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.cli import command_table
from tests.dns_server import DnsServer
from tests.postgresql_server import IS_POSTGRESQL
from tests.waypost_server import ROOT, Waypost, html_mail

PAGE = (ROOT / "docs/command-line.md").read_text("utf-8")
# What stays until it is stopped; other tests start it.
STAYS = ("serve", "demo", "events --follow")
ASKED = {"user add": b"a long password\n", "keys export": b"a passphrase\n", "keys import": b"a passphrase\n"}
# In a sandbox no mail waits.
FAILS = ("queue retry ID", "queue hold ID", "queue release ID", "queue drop ID --notify")
_FILE = re.compile(r"[a-z.]+\.(?:eml|csv|json|sealed|gz)")


def commands() -> list[str]:
    """The lines of the page's examples, in order."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return [line.removeprefix("waypost ") for block in blocks for line in block.splitlines()]


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waypost]:
    with Waypost(tmp_path_factory.mktemp("page")) as running:
        header = "X-Waypost-Tag: welcome\r\nX-Waypost-Stream: news\r\n"
        assert running.send(html_mail(header=header), "ann@example.com").startswith("250")
        yield running


def test_the_page_has_every_command() -> None:
    overview = PAGE.partition("\n## ")[0].partition("|---")[2]
    assert set(command_table.COMMANDS) == set(re.findall(r"`([a-z-]+)`", overview)) - {"config.toml"}
    examples = {line.split()[0] for line in commands()}
    assert set(command_table.COMMANDS) - examples == {"restore", "alerts"}  # which other pages explain


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with DnsServer({}) as server:
        yield server


def test_every_command_of_the_page_runs(relay: Waypost, dns: DnsServer, tmp_path: Path) -> None:
    (tmp_path / "mail.eml").write_bytes(html_mail())
    (tmp_path / "replies.txt").write_text("550 5.1.1 no such user\nconnect\t421 busy\n")
    names = {
        "URL": relay.rows("pixel", "create", "For a token", "--json")[0]["url"],
        "ID": relay.rows("messages", "--limit", "1")[0]["id"],
        "9.9.9.9": dns.address,
        "WEBHOOK": relay.rows("webhooks", "add", "http://127.0.0.1:9/hook")[0]["id"],
    }
    for line in commands():
        if line.startswith(STAYS):
            continue
        text, _, target = line.partition(" > ")
        text, _, source = text.partition(" < ")
        words = [names.get(word, str(tmp_path / word) if _FILE.fullmatch(word) else word) for word in shlex.split(text)]
        command = " ".join(words[:2])
        given = (tmp_path / source).read_bytes() if source else ASKED.get(command, b"")
        output = relay.cli(*words, stdin=given, status=int(line in FAILS))
        if target:
            (tmp_path / target).write_bytes(output)
    assert (tmp_path / "waypost.tar.gz").stat().st_size > (300 if IS_POSTGRESQL else 1000) and b"ann@example.com" in (
        tmp_path / "ann.json"
    ).read_bytes()
