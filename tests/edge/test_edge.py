"""SMTP in: who may send, what is accepted, what is replied."""

import base64
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.store.console import accounts
from tests.certificates import make_certificate
from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost, html_mail


class Dialogue:
    """A client that types."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.file = self.socket.makefile("rb")
        self.greeting = self.reply()

    def reply(self) -> str:
        lines = []
        while True:
            line = self.file.readline().decode().rstrip("\r\n")
            lines.append(line)
            if line[3:4] != "-":
                return "\n".join(lines)

    def say(self, line: str | bytes) -> str:
        self.socket.sendall((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return self.reply()

    def begin(self, recipient: str) -> None:
        """As far as 354."""
        for line in ("EHLO app.test", "MAIL FROM:<app@sender.test>", f"RCPT TO:<{recipient}>"):
            assert self.say(line).startswith("250")
        assert self.say("DATA").startswith("354")

    def closed(self) -> bool:
        return self.file.readline() == b""

    def __enter__(self) -> "Dialogue":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture
def talk(relay: Waypost) -> Iterator[Dialogue]:
    with Dialogue(relay.port) as dialogue:
        assert dialogue.greeting == "220 localhost ESMTP Waypost"
        yield dialogue


def test_ehlo_offers_what_is_kept(talk: Dialogue) -> None:
    offers = talk.say("EHLO app.test").split("\n")
    assert [line[4:] for line in offers] == [
        "localhost",
        "PIPELINING",
        "SIZE 26214400",
        "8BITMIME",
        "SMTPUTF8",
        "ENHANCEDSTATUSCODES",
        "DSN",
    ]


def test_every_refusal_has_an_enhanced_status(talk: Dialogue) -> None:
    dialogue: list[tuple[str | bytes, str]] = [
        ("MAIL FROM:<a@b.example>", "503 5.5.1"),
        ("EHLO", "501 5.5.4"),
        ("EHLO app.test", "250-localhost"),
        ("RCPT TO:<a@b.example>", "503 5.5.1"),
        ("DATA", "503 5.5.1"),
        ("MAIL", "501 5.5.4"),
        ("MAIL FROM:a b", "553 5.1.3"),
        ("MAIL FROM:<a@b.example> FOO=1", "555 5.5.4"),
        ("MAIL FROM:<a@b.example> SIZE=999999999", "552 5.3.4"),
        ("MAIL FROM:<a@b.example> BODY=9BIT", "501 5.5.4"),
        ("MAIL FROM:<a@b.example> SIZE=10 BODY=8BITMIME AUTH=<> RET=HDRS ENVID=x1", "250 2.1.0"),
        ("MAIL FROM:<a@b.example>", "503 5.5.1"),
        ("RCPT TO:<>", "501 5.1.3"),
        ("RCPT TO:<a@b.example> NOTIFY=NEVER ORCPT=rfc822;a@b.example", "250 2.1.5"),
        ("RSET", "250 2.0.0"),
        ("DATA", "503 5.5.1"),
        ("VRFY ann", "252 2.5.2"),
        ("EXPN list", "502 5.5.1"),
        ("NOOP", "250 2.0.0"),
        ("AUTH PLAIN", "502 5.5.1"),
        ("STARTTLS", "502 5.5.1"),
        ("x" * 3000, "500 5.5.2"),
        (b"MAIL FROM:<\xff@b.example>", "553 5.6.7"),
        ("QUIT", "221 2.0.0"),
    ]
    for line, reply in dialogue:
        assert talk.say(line).startswith(reply), line
    assert talk.closed()


def test_a_browser_at_the_door_hears_nothing(relay: Waypost) -> None:
    with Dialogue(relay.port) as talk:
        talk.socket.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\nMAIL FROM:<a@b.example>\r\n")
        assert talk.closed()


def test_too_many_errors_end_the_dialogue(talk: Dialogue) -> None:
    talk.say("EHLO app.test")
    replies = [talk.say("FOO") for _ in range(20)]
    assert replies[0].startswith("500") and talk.reply().startswith("421 4.7.0")


def test_pipelined_commands_are_answered_in_order(relay: Waypost, upstream: ScriptedUpstream) -> None:
    with Dialogue(relay.port) as talk:
        talk.say("EHLO app.test")
        talk.socket.sendall(b"MAIL FROM:<app@sender.test>\r\nRCPT TO:<piped@example.com>\r\nDATA\r\n")
        assert [talk.reply()[:3] for _ in range(3)] == ["250", "250", "354"]
        talk.socket.sendall(b"Subject: one\r\n\r\none\r\n.\r\nMAIL FROM:<app@sender.test>\r\nNOOP\r\nQUIT\r\n")
        assert [talk.reply()[:3] for _ in range(4)] == ["250", "250", "250", "221"]
    assert upstream.to("piped@example.com")[0].octets.endswith(b"\r\n\r\none\r\n")


def test_a_client_that_closes_its_half_after_the_dot_still_gets_its_reply(relay: Waypost) -> None:
    with Dialogue(relay.port) as talk:
        talk.begin("half@example.com")
        talk.socket.sendall(b"Subject: one\r\n\r\none\r\n.\r\n")
        talk.socket.shutdown(socket.SHUT_WR)
        assert talk.reply().startswith("250 2.0.0")


def test_an_unfinished_message_is_dropped(relay: Waypost, upstream: ScriptedUpstream) -> None:
    with Dialogue(relay.port) as talk:
        talk.begin("cut@example.com")
        talk.socket.sendall(b"Subject: one\r\n\r\none\r\n.\r")
    relay.send(html_mail(), "after-cut@example.com")
    upstream.to("after-cut@example.com")
    assert not [arrival for arrival in upstream.arrivals if "cut@example.com" in arrival.recipients]


@pytest.mark.parametrize("false_end", [b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r\n", b"\r\n.\r", b"\n.\r"])
def test_no_mail_is_smuggled_inside_another(relay: Waypost, upstream: ScriptedUpstream, false_end: bytes) -> None:
    smuggled = b"MAIL FROM:<evil@x.example>\r\nRCPT TO:<smuggled@example.com>\r\nDATA\r\nSubject: evil\r\n\r\nx"
    with Dialogue(relay.port) as talk:
        talk.begin("victim@example.com")
        talk.socket.sendall(b"Subject: one\r\n\r\none" + false_end + smuggled + b"\r\n.\r\n")
        assert talk.reply()[:3] in ("250", "550")
        assert talk.say("NOOP").startswith("250")
    assert not [arrival for arrival in upstream.arrivals if "smuggled@example.com" in arrival.recipients]


def test_8_bit_octets_and_the_null_reverse_path_and_odd_addresses_go_through(
    relay: Waypost, upstream: ScriptedUpstream
) -> None:
    octets = (
        b"Subject: \xc3\xa4\r\nContent-Type: text/plain; charset=latin-1\r\n\r\n..d\xe9j\xe0\r\n.\r\n"
        + b"x" * 5000
        + b"\r\n"
    )
    with relay.client() as client:
        client.ehlo()
        assert client.docmd("MAIL", "FROM:<> BODY=8BITMIME")[0] == 250
        assert client.rcpt('"odd box"@example.com')[0] == 250
        assert client.data(octets)[0] == 250
    [arrival] = upstream.to('"odd box"@example.com')
    assert arrival.octets.endswith(octets)
    assert arrival.mail.startswith("MAIL FROM:<> ") and "BODY=8BITMIME" in arrival.mail


def test_international_addresses_go_through(relay: Waypost, upstream: ScriptedUpstream) -> None:
    with Dialogue(relay.port) as talk:
        talk.say("EHLO app.test")
        assert talk.say("MAIL FROM:<jürgen@exämple.test> SMTPUTF8").startswith("250")
        assert talk.say("RCPT TO:<例え@example.com>").startswith("250")
        talk.say("DATA")
        assert talk.say("Subject: 例\r\n\r\nx\r\n.").startswith("250")
    [arrival] = upstream.to("例え@example.com")
    assert "SMTPUTF8" in arrival.mail and "<jürgen@exämple.test>" in arrival.mail


def test_25_megabytes_go_through_unchanged_and_more_is_refused(relay: Waypost, upstream: ScriptedUpstream) -> None:
    line = b"." + b"0123456789abcdef" * 4 + b"\r\n"
    body = line * ((25 << 20) // len(line) - 20)
    octets = b"Subject: large\r\nContent-Type: application/octet-stream\r\n\r\n" + body
    assert relay.send(octets, "large-25mb@example.com").startswith("250")
    assert upstream.to("large-25mb@example.com")[0].octets.endswith(octets)
    upstream.arrivals.clear()
    with relay.client() as client:
        client.ehlo()
        client.mail("app@sender.test")
        client.rcpt("larger@example.com")
        assert client.data(octets + line * 100)[0] == 552
        assert client.noop()[0] == 250


def test_received_is_added_and_bcc_is_the_envelopes_alone(relay: Waypost, upstream: ScriptedUpstream) -> None:
    mail = b"From: a@sender.test\r\nTo: b@example.com\r\nBcc: secret@example.com\r\nSubject: x\r\n\r\ntext\r\n"
    relay.send(mail, "b-bcc@example.com", "secret@example.com")
    for recipient in ("b-bcc@example.com", "secret@example.com"):
        octets = upstream.to(recipient)[0].octets
        header = octets.partition(b"\r\n\r\n")[0].lower()
        assert header.startswith(b"received: from app.test ([127.0.0.1])\r\n\tby localhost (waypost) with esmtp id ")
        assert b"\r\nmessage-id: <" in header and b"\r\ndate: " in header
        assert b"bcc:" not in header and b"secret" not in header


def test_a_loop_is_broken(relay: Waypost) -> None:
    hops = b"".join(b"Received: from h%d by x; Thu, 12 Nov 2026 09:01:00 +0000\r\n" % n for n in range(101))
    assert relay.send(hops + b"Subject: x\r\n\r\nx\r\n", "loop@example.com").startswith("554 5.4.6")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, upstream: ScriptedUpstream) -> Iterator[Waypost]:
    """A relay that trusts no network, with one SMTP user, few connections and few recipients, and STARTTLS."""
    folder: Path = tmp_path_factory.mktemp("guarded")
    make_certificate(folder)
    password_hash = accounts.hash_password("correct horse")
    tables = (
        '[access]\nnetworks = ["192.0.2.0/24"]\nmax_connections_per_ip = 3\nmax_recipients = 2\n'
        f'[[access.user]]\nname = "shop"\npassword_hash = "{password_hash}"\nsenders = ["@shop.test"]\n'
    )
    relay = Waypost(folder, upstream.port, tables)
    text = relay.config.read_text().replace(
        "[[listen]]\n", '[[listen]]\ntls = "starttls"\ncertificate = "cert.pem"\nkey = "key.pem"\n', 1
    )
    relay.config.write_text(text)
    with relay:
        yield relay


def test_strangers_are_refused(guarded: Waypost) -> None:
    with Dialogue(guarded.port) as talk:
        talk.say("EHLO app.test")
        assert talk.say("MAIL FROM:<a@shop.test>").startswith("530 5.7.0")


def test_a_network_that_is_not_ours_is_refused_for_good(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    with (
        Waypost(tmp_path, upstream.port, '[access]\nnetworks = ["192.0.2.0/24"]\n') as relay,
        Dialogue(relay.port) as talk,
    ):
        talk.say("EHLO app.test")
        assert talk.say("MAIL FROM:<a@shop.test>").startswith("550 5.7.1")


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_a_user_sends_with_auth(guarded: Waypost, upstream: ScriptedUpstream, mechanism: str) -> None:
    with guarded.client() as client:
        client.starttls()
        client.ehlo()
        assert "PLAIN LOGIN" in client.esmtp_features["auth"]
        client.user, client.password = "shop", "correct horse"
        assert client.auth(mechanism, getattr(client, f"auth_{mechanism.lower()}"))[0] == 235
        assert client.mail("a@shop.test")[0] == 250
        assert [client.rcpt(f"{mechanism}-{n}@example.com")[0] for n in range(3)] == [250, 250, 452]
        assert client.data(b"Subject: x\r\n\r\nx\r\n")[0] == 250
    [arrival] = upstream.to(f"{mechanism}-0@example.com")
    assert b" with ESMTPSA id " in arrival.octets


def test_a_user_sends_only_as_itself(guarded: Waypost) -> None:
    with guarded.client() as client:
        client.login("shop", "correct horse")
        assert client.mail("a@bank.test")[0] == 553


def test_wrong_credentials_are_refused(guarded: Waypost) -> None:
    with Dialogue(guarded.port) as talk:
        talk.say("EHLO app.test")
        for credentials in (b"\0shop\0wrong", b"\0nobody\0correct horse", b"\0shop\0"):
            assert talk.say(b"AUTH PLAIN " + base64.b64encode(credentials)).startswith("535 5.7.8")
        assert talk.say("AUTH PLAIN ***").startswith("501 5.5.2")
        assert talk.say("AUTH CRAM-MD5").startswith("504 5.5.4")
        assert talk.say("AUTH LOGIN").startswith("334")
        assert talk.say("*").startswith("501 5.7.0")


def test_connections_of_one_address_are_counted(guarded: Waypost) -> None:
    with Dialogue(guarded.port), Dialogue(guarded.port), Dialogue(guarded.port), Dialogue(guarded.port) as fourth:
        assert fourth.greeting.startswith("421 4.7.0")
