"""The beginning of a message as real senders have it: with a header section, without one, with lines of an mbox; and
far beyond what a header section may be."""

import base64
import email
import email.policy
import json
import re
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from time import perf_counter

import pytest

from tests.smtp_client import Waits, connected, envelope
from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost

MBOX = b"From root Thu Nov 26 10:00:00 2026\r\n"
HEADER = b"From: root@example.com\r\nSubject: Cron\r\nContent-Type: text/html\r\n\r\n"
HTML = b'<p><a href="http://example.com/x">x</a></p>\r\n'
TEXTS = [
    b"   ALARM\r\n   Door 2 open since 10:00\r\n\r\nPlease check.\r\n",
    b"\tALARM\r\nDoor 2 open\r\n",
    b"  <html>\r\n<body>x</body>\r\n",
    b"<html><body>x</body></html>\r\n",
    b"Toner low on tray 2\r\nsecond line\r\n",
    b"Dear all\r\nBcc: this is a word of my text\r\nReturn-Path: and this one\r\nX-Waypost-Track: no\r\nbye\r\n",
    b" \r\nFrom: a@sender.test\r\nSubject: s\r\n\r\nx\r\n",
    b"From now on the door is locked.\r\n\r\nRegards\r\n",
    b": no name\r\n\r\nx\r\n",
    b"\xe9t\xe9: not a name\r\n\r\nx\r\n",
    b"x" * 3000 + b": a long line\r\n",
    b"12:30 stopped\r\n",
]


def arrived(relay: Waypost, upstream: ScriptedUpstream, octets: bytes, name: str) -> tuple[Message, bytes]:
    """The mail as it came to the upstream: parsed, and its octets."""
    recipient = f"{name}@begins.example"
    assert relay.send(octets, recipient).startswith("250")
    [arrival] = upstream.to(recipient)
    found = email.message_from_bytes(arrival.octets, policy=email.policy.compat32.clone(linesep="\r\n"))
    assert found["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert all(len(found.get_all(name, [])) == 1 for name in ("Received", "Date", "Message-ID"))
    return found, arrival.octets


@pytest.mark.parametrize("text", TEXTS[:-1], ids=range(len(TEXTS) - 1))
def test_mail_without_a_header_keeps_every_line(relay: Waypost, upstream: ScriptedUpstream, text: bytes) -> None:
    found, octets = arrived(relay, upstream, text, f"text{TEXTS.index(text)}")
    assert set(found.keys()) == {"Received", "Message-ID", "Date", "List-Unsubscribe", "List-Unsubscribe-Post"}
    assert octets.endswith(b"\r\n\r\n" + text)
    assert octets.count(b"\r\n\r\n" + text) == 1 and b"\n " + text.strip() not in octets
    assert "\n" not in found["Date"]


def test_what_looks_like_a_field_begins_a_header(relay: Waypost, upstream: ScriptedUpstream) -> None:
    found, _ = arrived(relay, upstream, b"12: 30\r\nSubject: x\r\n\r\ntext\r\n", "field")
    assert (found["12"], found["Subject"]) == ("30", "x")


@pytest.mark.parametrize("mark", [MBOX, b">" + MBOX, MBOX + b">" + MBOX], ids=["one", "quoted", "two"])
def test_a_line_of_an_mbox_does_not_end_the_header(relay: Waypost, upstream: ScriptedUpstream, mark: bytes) -> None:
    name = f"mbox{len(mark)}"
    found, octets = arrived(relay, upstream, mark + HEADER + HTML, name)
    assert (found["From"], found["Subject"]) == ("root@example.com", "Cron")
    kept = [f"{line}\r\n".encode() for line in found.get_all("X-Mailbox-Line", [])]
    assert b"".join(kept) == mark  # as Postfix keeps it
    assert f"{relay.tracking}/c/".encode() in octets.partition(b"\r\n\r\n")[2]


def test_a_message_that_is_empty_or_begins_with_its_body_goes_as_it_is(
    relay: Waypost, upstream: ScriptedUpstream
) -> None:
    _, octets = arrived(relay, upstream, b"\r\ntext\r\n", "blank")
    assert octets.endswith(b"\r\n\r\ntext\r\n") and not octets.endswith(b"\r\n\r\n\r\ntext\r\n")


# --- bounds


HOSTILE = {
    "spaces": b"Received: x" + b" " * 80_000 + b"y\r\n\r\nx\r\n",
    "tabs": b"Received:" + b"\t" * 500_000 + b"\r\n" + b"Received: by\r\n\t\r\n" * 90 + b"\r\nx\r\n",
    "folds": b"Received: x\r\n" + b" \r\n" * 19_000 + b"\r\nx\r\n",
    "names": b"Subject: x\r\n" + (b"a" * 50_000 + b"\r\n") * 19 + b"\r\nx\r\n",
    "fields": b"Subject: x\r\n" + b"a:\r\n" * 19_000 + b"\r\nx\r\n",
    "from": b"From: " + b'"\\' * 200_000 + b"\r\n\r\nx\r\n",
    "comments": b"From: " + b"(a" * 200_000 + b"\r\n\r\nx\r\n",
    "to": b"To: " + b"a@b," * 200_000 + b"\r\n\r\nx\r\n",
    "subject": b"Subject: " + b"=?utf-8?q?a" * 80_000 + b"\r\n\r\nx\r\n",
    "type": b"Content-Type: text/html" + b";a" * 200_000 + b"\r\n\r\nx\r\n",
    "quoted": b"Content-Type: text/html;a=" + b'"\\' * 200_000 + b"\r\n\r\nx\r\n",
    "id": b"Message-ID: " + b"<" * 500_000 + b"\r\n\r\nx\r\n",
    "control": b"X-SMTPAPI: " + b"[" * 500_000 + b"\r\n\r\nx\r\n",
    "tags": b"Subject: x\r\n" + b"X-Waypost-Tag: a\r\n" * 19_000 + b"\r\nx\r\n",
    "unsubscribe": b"List-Unsubscribe: " + b"<" * 500_000 + b"\r\n\r\nx\r\n",
    "signature": b"DKIM-Signature: " + b"h=" * 200_000 + b"\r\n\r\nx\r\n",
}


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waypost]:
    with Waypost(tmp_path_factory.mktemp("quiet"), tables='[bounces]\nreturn_path = "bounces.test"\n') as running:
        yield running


@pytest.mark.parametrize("name", HOSTILE)
def test_no_header_keeps_others_waiting(quiet: Waypost, name: str) -> None:
    for recipient in ("postmaster@bounces.test", "bounds@example.com"):
        with Waits(quiet) as waits, connected(quiet.port) as (client, replies):
            began_s = quiet.processor_s()
            client.sendall(envelope(recipient) + HOSTILE[name] + b".\r\nNOOP\r\n")
            replies.next(5)
            assert replies.next()[:3] in ("250", "554", "552", "550")
            assert replies.next().startswith("250")
        # Of the processor: how long others wait depends on what else the machine does.
        assert waits.count > 0 and quiet.processor_s() - began_s < 5
        print(f"{name} {recipient}: {waits.longest_s:.3f} s")


def test_others_are_served_while_a_header_of_many_fields_is_read(quiet: Waypost) -> None:
    octets = b"Subject: x\r\n" + b"".join(b"X-Waypost-Tag: tag %d\r\n" % n for n in range(19_000)) + b"\r\nx\r\n"
    shares = []
    for _ in range(5):
        with Waits(quiet) as waits:
            began = perf_counter()
            assert quiet.send(octets, "many@example.com").startswith("250")
            took_s = perf_counter() - began
        shares.append(waits.longest_s / took_s)
        print(f"{waits.longest_s:.3f} s of {took_s:.3f} s")
    assert min(shares) < 0.17  # of the time that it takes, however fast the machine is


@pytest.mark.parametrize("lines", [b"Subject: x\r\n" + b"a:\r\n" * 20_001, b"Subject:\r\n" + b" x\r\n" * 20_001])
def test_a_header_of_too_many_lines_is_refused(relay: Waypost, lines: bytes) -> None:
    assert relay.send(lines + b"\r\nx\r\n", "lines@begins.example").startswith("552 5.3.4")


def test_a_text_without_header_may_be_as_long_as_any(
    relay: Waypost, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    text = b"a line of text\r\n" * 100_000
    assert relay.send(text, "long@begins.example").startswith("250")
    assert upstream.to("long@begins.example")[0].octets.endswith(b"\r\n\r\n" + text)


# --- the same by `waypost instrument`

FILES = {
    "lf": b"From: a@x.example\nSubject: saved on a Unix disk\nContent-Type: text/html\n\n" + HTML.replace(b"\r", b""),
    "crlf": HEADER + HTML,
    "no end": HEADER + HTML.rstrip(),
    "lf, no end": (HEADER + HTML.rstrip()).replace(b"\r", b""),
    "mixed": b"Bcc: x@y.example\nSubject: x\r\nX-Waypost-Tag: a\n b\r\nContent-Type: text/html\n\r\n.\n"
    + HTML
    + b"\n\n",
    "base64": HEADER.replace(b"\r\n\r\n", b"\nContent-Transfer-Encoding: base64\n\n")
    + b"PHA+PGEgaHJlZj0iaHR0cDov\nL2V4YW1wbGUuY29tL3giPng8\nL2E+PC9wPg==\n",
    "text": TEXTS[0].replace(b"\r", b""),
    "mbox": (MBOX + b">" + MBOX + HEADER + HTML).replace(b"\r", b""),
    "blank": b"\ntext",
    "empty": b"",
}


@pytest.mark.parametrize("name", FILES)
def test_instrument_prints_what_the_upstream_gets_and_how_it_came_of_the_file(
    relay: Waypost, upstream: ScriptedUpstream, tmp_path: Path, name: str
) -> None:
    """The report's edits lead from the file to the output, and from the output back to the file."""
    octets, recipient = FILES[name], f"file{list(FILES).index(name)}@begins.example"
    (tmp_path / "mail").write_bytes(octets)
    report_file = tmp_path / "report"
    out = relay.cli(
        "instrument", str(tmp_path / "mail"), "--to", recipient, "--from", "app@sender.test", "--report",
        str(report_file),
    )  # fmt: skip
    edits = json.loads(report_file.read_text())["edits"]
    made, back, at, place = b"", b"", 0, 0
    for edit in edits:
        made += octets[at : edit["start"]] + edit["new"].encode("latin-1")
        old = edit["old"].encode("latin-1")
        assert octets[edit["start"] : edit["end"]] == old
        back += out[place : place + edit["start"] - at] + old
        place += edit["start"] - at + len(edit["new"])
        at = edit["end"]
    assert made + octets[at:] == out
    assert back + out[place:] == octets
    # smtplib makes line ends of its own before it sends.
    with relay.client() as client:
        client.ehlo()
        client.mail("app@sender.test")
        client.rcpt(recipient)
        assert client.docmd("DATA")[0] == 354
        last = re.sub(rb"(?<!\r)\n\Z", b"\r\n", octets) if octets.endswith(b"\n") or not octets else octets + b"\r\n"
        client.send(last.replace(b"\n.", b"\n..") + b".\r\n")
        assert client.getreply()[0] == 250
    arrived = upstream.to(recipient)[0].octets
    assert _comparable(out, relay) == _comparable(arrived, relay)


def _comparable(octets: bytes, relay: Waypost) -> bytes:
    """Without what is different each time: ids, times, tokens, and Received."""
    head, blank, body = octets.partition(b"\r\n\r\n")
    octets = head + blank + (base64.b64decode(body) if b"base64" in head else body)
    octets = re.sub(rb"\AReceived: .*\r\n\t.*\r\n\t.*\r\n", b"", octets)
    octets = re.sub(rb"(?m)^(Message-ID|Date): .*\r\n", b"", octets)
    return re.sub(re.escape(relay.tracking.encode()) + rb"/([ocu])/[\w-]+", rb"\1", octets)
