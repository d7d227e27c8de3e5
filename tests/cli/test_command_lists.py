"""Lists of the command line: a table on a terminal, JSON lines in a pipe, and what can be looked for."""

import contextlib
import fcntl
import json
import os
import pty
import struct
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waypost_server import FORK_SERVER, Waypost, html_mail

LISTS = ("messages", "events", "queue list", "suppressions list", "webhooks list", "pixel list", "keys list",
         "user list", "api-key list", "stats --by day")  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def dumb_terminal() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERM", "dumb")
        patch.delenv("COLUMNS", raising=False)
        patch.delenv("NO_COLOR", raising=False)
        yield


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waypost]:
    with Waypost(tmp_path_factory.mktemp("filled")) as relay:
        first = "Welcome to the shop, where all things are larger than a line"
        second = "=?utf-8?q?red_=1B[31m_and_bidi_=E2=80=AE?="
        for subject, header, recipients in (
            (first, "X-Waypost-Tag: welcome\r\n", ["ann@l.example"]),
            (second, "X-Waypost-Stream: news\r\n", ["ann@l.example", "ben@l.example"]),
        ):
            assert relay.send(html_mail(subject, header=header), *recipients).startswith("250")
        relay.cli("suppressions", "add", "gone@l.example", "--reason", "hard_bounce")
        relay.cli("suppressions", "add", "left@l.example", "--stream", "news", "--reason", "unsubscribe")
        relay.cli("pixel", "create", "Offer")
        relay.cli("api-key", "create", "shop", "--scope", "read")
        relay.cli("webhooks", "add", "http://127.0.0.1:9/hook")
        yield relay


def on_terminal(relay: Waypost, *words: str, width: int = 80) -> str:
    """What a command shows on a terminal of that width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    with os.fdopen(theirs, "rb", buffering=0) as terminal:
        process = FORK_SERVER.start([*words, "--config", str(relay.config)], terminal, terminal, terminal)
    shown = b""
    with contextlib.suppress(OSError):  # the other side is closed
        while octets := os.read(ours, 65536):
            shown += octets
    os.close(ours)
    assert process.wait(60) == 0, shown.decode()
    return shown.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("command", LISTS)
def test_a_list_is_json_lines_in_a_pipe(filled: Waypost, command: str) -> None:
    for row in filled.rows(*command.split()):
        assert isinstance(row, dict)


@pytest.mark.parametrize("command", ["messages", "queue list", "keys list"])
def test_a_list_is_a_table_on_a_terminal_and_json_where_it_is_asked_for(filled: Waypost, command: str) -> None:
    words = command.split()
    for width in (80, 140):
        lines = on_terminal(filled, *words, width=width).splitlines()
        assert all(len(line) <= width for line in lines), lines
        assert lines[0].split()[0].isupper() or lines == ["nothing waits"]
    for line in on_terminal(filled, *words, "--json").splitlines():
        json.loads(line)


def test_a_stranger_s_subject_does_not_act_on_the_terminal(filled: Waypost) -> None:
    shown = on_terminal(filled, "messages", "--stream", "news", width=140)
    assert "red [31m and bidi" in shown and "\x1b" not in shown and "\u202e" not in shown
    assert "ann@l.example +1" in shown and "delivered 2" in shown


def test_an_empty_list_says_so_on_a_terminal_and_nothing_in_a_pipe(filled: Waypost) -> None:
    assert on_terminal(filled, "messages", "nothing-like-it") == "no message\n"
    assert filled.cli("messages", "nothing-like-it") == b""


def subjects(relay: Waypost, *words: str) -> list[str]:
    return [row["subject"][:7] for row in relay.rows("messages", *words)]


def test_messages_are_found_by_word_operator_and_option(filled: Waypost) -> None:
    assert subjects(filled) == ["red [31", "Welcome"]
    assert subjects(filled, "welcome") == subjects(filled, "--query", "welcome") == ["Welcome"]
    assert subjects(filled, "tag:welcome") == subjects(filled, "--tag", "welcome") == ["Welcome"]
    assert subjects(filled, "--stream", "news") == ["red [31"]
    assert subjects(filled, "--recipient", "ben@l.example") == ["red [31"]
    assert len(subjects(filled, "--status", "delivered", "--since", "1h")) == 2
    assert subjects(filled, "--until", "1h") == subjects(filled, "--status", "bounced") == []
    assert subjects(filled, "--tag", "welcome", "--stream", "news") == []
    assert len(subjects(filled, "--limit", "1")) == 1
    assert b"there is no status" in filled.cli("messages", "status:lost", status=1)


def test_events_are_found_by_type_recipient_tag_stream_and_time(filled: Waypost) -> None:
    assert {row["type"] for row in filled.rows("events", "--type", "accepted")} == {"accepted"}
    found = filled.rows("events", "--type", "accepted,delivered", "--recipient", "ben@l.example")
    assert [row["recipient"] for row in found] == ["ben@l.example"]
    assert len(filled.rows("events", "--tag", "welcome", "--type", "delivered")) == 1
    assert len(filled.rows("events", "--stream", "news", "--type", "delivered")) == 2
    assert filled.rows("events", "--until", "1h") == []
    ids = [row["id"] for row in filled.rows("events", "--limit", "3")]
    assert ids == sorted(ids) == [row["id"] for row in filled.rows("events")][-3:]


def test_followed_events_are_those_that_are_looked_for(filled: Waypost) -> None:
    words = ["events", "--follow", "--limit", "1", "--recipient", "later@l.example", "--config", str(filled.config)]
    reads, writes = os.pipe()
    with Path(os.devnull).open("r+b") as nothing, os.fdopen(reads) as shown:
        process = FORK_SERVER.start(words, nothing, writes, nothing)
        os.close(writes)
        filled.send(html_mail(), "other@l.example")
        filled.send(html_mail(), "later@l.example")
        row = json.loads(shown.readline())
        process.terminate()
    assert (row["recipient"], row["type"]) == ("later@l.example", "delivered")


def test_suppressions_are_found_by_stream_reason_and_address(filled: Waypost) -> None:
    def addresses(*words: str) -> list[str]:
        return [row["address"] for row in filled.rows("suppressions", "list", *words)]

    assert addresses("--stream", "news") == addresses("--reason", "unsubscribe") == ["left@l.example"]
    assert addresses("--stream", "NEWS") == ["left@l.example"]
    assert addresses("--recipient", "GONE@l.example") == addresses("gone@") == ["gone@l.example"]
    assert addresses("--since", "1h") == ["left@l.example", "gone@l.example"]
    assert addresses("--until", "1h") == []


def test_statistics_have_the_fields_of_the_api(filled: Waypost) -> None:
    [tagged] = filled.rows("stats", "--by", "tag")
    assert (tagged["group"], tagged["accepted"], tagged["delivered"]) == ("welcome", 1, 1)
    assert tagged["opens"].keys() == {"human", "proxied", "machine", "unknown", "unique"}
    assert filled.rows("stats", "--by", "day")[0]["group"].endswith("T00:00:00Z")
    assert filled.rows("stats")[0].keys() >= {"accepted", "clicks", "rates", "categories"}


def test_a_list_that_ends_at_its_limit_says_so(filled: Waypost) -> None:
    status, output, errors = filled.command("suppressions", "list", "--limit", "1")
    assert status == 0 and len(output.splitlines()) == 1 and b"There is more: this ends at --limit 1" in errors


def test_smtp_users_are_listed_beside_the_console_s(tmp_path: Path) -> None:
    relay = Waypost(tmp_path)
    table = relay.cli("user", "add", "shop", "--smtp", stdin=b"a long password\n").decode()
    relay.config.write_text(relay.config.read_text() + table)
    relay.cli("user", "add", "ann", stdin=b"a long password\n")
    assert [(row["name"], row["of"]) for row in relay.rows("user", "list")] == [("ann", "console"), ("shop", "smtp")]
    assert "password" not in relay.cli("user", "list").decode()
    relay.cli("user", "remove", "ann", "--yes")
    assert [row["name"] for row in relay.rows("user", "list")] == ["shop"]
