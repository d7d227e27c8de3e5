"""MAIL to the dot, as scripted servers of several kinds see it: one Waypost, and its upstreams by reverse-path.

Invariants: *no octet of a message goes to a server that has not said 354 to it*; *what may have arrived is
marked, and comes again with the same octets*; *a mail is fitted to its upstream or refused, never cut*.
"""

import contextlib
import email
import email.policy
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from relay.delivery.smtp import protocol
from tests.rewrite.keys import ED25519, SigningKey, verdicts
from tests.upstream import EXTENSIONS, ScriptedUpstream
from tests.waypost_server import Waypost, html_mail, tracking_urls

FULL = (*EXTENSIONS, "DSN")
SIGNER = SigningKey("seven.test", "e1", ED25519.private_key)
SERVERS = {
    "full": {"extensions": FULL},
    "old": {"extensions": ("SIZE 4000",)},
    "seven": {"extensions": ("PIPELINING", "SMTPUTF8")},
    "lax": {"is_lax": True},
    "busy": {"greeting": "421 4.3.2 too many connections"},
}


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, ScriptedUpstream]]:
    made = {name: ScriptedUpstream(**keys) for name, keys in SERVERS.items()}  # type: ignore[arg-type]
    yield made
    for server in made.values():
        server.close()


@pytest.fixture(scope="module")
def relay(servers: dict[str, ScriptedUpstream], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waypost]:
    tables = '[delivery]\nretry = ["1s"]\n' + "".join(
        f'[[upstream]]\nname = "{name}"\naddress = "127.0.0.1:{server.port}"\ntls = "off"\n'
        f'senders = ["@{name}.test"]\noutages = 1000\n'
        for name, server in servers.items()
    )
    # Wants STARTTLS of a server that does not offer it: somebody between may have taken it out.
    tables += f'[[upstream]]\nname = "stripped"\naddress = "127.0.0.1:{servers["full"].port}"\n'
    tables += 'tls = "starttls"\nusername = "me"\npassword = "secret-word"\nsenders = ["@stripped.test"]\n'
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem = SIGNER.private_key.private_bytes(*form).decode("ascii")
    tables += f'[[dkim.key]]\ndomain = "{SIGNER.domain}"\nselector = "e1"\nprivate_key = """{pem}"""\n'
    with Waypost(tmp_path_factory.mktemp("transaction"), tables=tables) as running:
        yield running


@given(
    st.lists(st.tuples(st.integers(200, 599), st.lists(st.text("ab \u00e9", max_size=9), min_size=1)), max_size=5),
    st.data(),
)
def test_replies_are_the_same_whole_and_in_any_pieces(
    replies: list[tuple[int, list[str]]], data: st.DataObject
) -> None:
    octets = "".join(
        f"{code}{' ' if n == len(lines) - 1 else '-'}{line}\r\n"
        for code, lines in replies
        for n, line in enumerate(lines)
    ).encode()
    buffer, found, at = bytearray(), [], 0
    while at < len(octets):
        size = data.draw(st.integers(1, 40))
        buffer += octets[at : at + size]
        at += size
        while reply := protocol.take_reply(buffer):
            found.append((reply.code, reply.text))
    assert not buffer
    assert found == [(code, "\n".join(line.strip() for line in lines).strip()) for code, lines in replies]


@given(st.binary(max_size=300) | st.lists(st.sampled_from([b"250-", b"250 x", b"\r\n", b"\n", b"99"])).map(b"".join))
def test_any_octets_are_replies_or_a_lost_connection(octets: bytes) -> None:
    buffer = bytearray(octets)
    with contextlib.suppress(protocol.ConnectionLostError):
        while reply := protocol.take_reply(buffer):
            assert 0 <= reply.code <= 999 and reply.text.encode()
        assert b"\n" not in buffer or buffer.startswith(b"250-")


def attempts(relay: Waypost, recipient: str) -> list[dict[str, Any]]:
    [row] = relay.rows("messages", "--query", recipient)
    [delivery] = row["deliveries"]
    return list(delivery["attempts"])


def test_all_commands_go_out_before_the_first_reply_where_that_is_offered(
    relay: Waypost, servers: dict[str, ScriptedUpstream]
) -> None:
    relay.send(html_mail(), "ahead@example.com", sender="a@full.test")
    [arrival] = servers["full"].to("ahead@example.com")
    assert arrival.ahead == len(b"RCPT TO:<ahead@example.com>\r\nDATA\r\n")
    relay.send(html_mail(), "waits@example.com", sender="a@old.test")
    [arrival] = servers["old"].to("waits@example.com")
    assert arrival.ahead == 0


def test_where_all_recipients_are_refused_a_server_that_says_354_gets_no_message(
    relay: Waypost, servers: dict[str, ScriptedUpstream]
) -> None:
    lax = servers["lax"]
    assert relay.send(html_mail(), "e550-5.1.1+gone@example.com", sender="a@lax.test").startswith("550 5.1.1")
    assert relay.send(html_mail(), "next@example.com", sender="a@lax.test").startswith("250")
    assert [arrival.octets for arrival in lax.turned_away] == [b""]
    assert lax.to("next@example.com")[0].connection == lax.turned_away[0].connection
    assert lax.verbs["RSET"] == 0  # the lone dot has ended the transaction
    assert relay.send(html_mail(), "somebody@example.com", sender="e550-5.7.1@lax.test").startswith("550 5.7.1")
    assert relay.send(html_mail(), "last@example.com", sender="a@lax.test").startswith("250")
    assert len(lax.turned_away) == 1 and len(lax.arrivals) == 2  # an empty mail would have reached somebody


def test_a_refused_sender_costs_only_its_own_mail(relay: Waypost, servers: dict[str, ScriptedUpstream]) -> None:
    for name in ("full", "old"):
        server, resets = servers[name], servers[name].verbs["RSET"]
        assert relay.send(html_mail(), "x@example.com", sender=f"e550-5.7.1@{name}.test").startswith("550 5.7.1")
        assert relay.send(html_mail(), "y@example.com", sender=f"a@{name}.test").startswith("250")
        assert relay.send(html_mail(), "z@example.com", sender=f"a@{name}.test").startswith("250")
        assert server.verbs["RSET"] == resets + 1  # before y, and none before z
        assert server.to("y@example.com")[0].connection == server.to("z@example.com")[0].connection


def test_odd_addresses_go_out_as_they_came(relay: Waypost, servers: dict[str, ScriptedUpstream]) -> None:
    for odd in ('"a b"@example.com', "a..b@example.com", "UPPER+Tag@Example.COM"):
        assert relay.send(html_mail(), odd, sender="a@full.test").startswith("250")
        assert servers["full"].arrivals[-1].recipients == [odd]


def test_dsn_parameters_are_passed_on_where_they_are_offered_only(
    relay: Waypost, servers: dict[str, ScriptedUpstream]
) -> None:
    for name, wanted in (("full", True), ("old", False)):
        with relay.client() as client:
            client.ehlo()
            client.mail(f"a@{name}.test", ["RET=HDRS", "ENVID=QQ314159"])
            client.rcpt("dsn@example.com", ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;dsn@example.com"])
            assert client.data(html_mail())[0] == 250
        [arrival] = servers[name].to("dsn@example.com")
        assert ("RET=HDRS ENVID=QQ314159" in arrival.mail) is wanted
        assert ("NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;dsn@example.com" in arrival.rcpts[0]) is wanted


def test_mail_of_eight_bits_reaches_a_server_of_seven_with_the_same_text(
    relay: Waypost, servers: dict[str, ScriptedUpstream]
) -> None:
    mail = html_mail(extra="<p>Grüße, 東京</p>", header="Content-Transfer-Encoding: 8bit\r\n")
    assert relay.send(mail, "seven@example.com", sender="a@seven.test").startswith("250")
    [arrival] = servers["seven"].to("seven@example.com")
    assert arrival.octets.isascii() and "BODY=" not in arrival.mail
    text = email.message_from_bytes(arrival.octets, policy=email.policy.SMTP).get_content()
    assert "<p>Grüße, 東京</p>" in text and tracking_urls(text.encode())["c"]
    mail = mail.replace(b"app@sender.test>\r\nTo", b"a@seven.test>\r\nTo")  # signed for its author
    assert relay.send(mail, "signed@example.com", sender="a@seven.test").startswith("250")
    [arrival] = servers["seven"].to("signed@example.com")
    assert arrival.octets.isascii() and verdicts(arrival.octets, SIGNER) == [True]
    assert relay.send(mail, "eight@example.com", sender="a@full.test").startswith("250")
    [arrival] = servers["full"].to("eight@example.com")
    assert "<p>Grüße, 東京</p>".encode() in arrival.octets and "BODY=8BITMIME" in arrival.mail


def test_sealed_mail_of_eight_bits_is_refused_where_it_would_have_to_be_changed(
    relay: Waypost, servers: dict[str, ScriptedUpstream]
) -> None:
    mail = (
        "From: a@seven.test\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/signed; protocol="application/pgp-signature"; micalg=pgp-sha512; boundary=b\r\n\r\n'
        "--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße\r\n"
        "--b\r\nContent-Type: application/pgp-signature\r\n\r\n-----BEGIN PGP SIGNATURE-----\r\n\r\n--b--\r\n"
    ).encode()
    assert relay.send(mail, "sealed@example.com", sender="a@seven.test").startswith("554 5.6.3 not sent: ")
    assert relay.send(mail, "sealed@example.com", sender="a@full.test").startswith("250")
    assert servers["full"].to("sealed@example.com")[0].octets.endswith(mail[mail.index(b"--b") :])


def test_mail_larger_than_the_upstream_takes_is_refused_before_it_is_sent(
    relay: Waypost, servers: dict[str, ScriptedUpstream]
) -> None:
    mails = servers["old"].verbs["MAIL"]
    large = html_mail(extra="<p>more</p>" * 400)
    reply = relay.send(large, "large@example.com", sender="a@old.test")
    assert reply.startswith("552 5.3.4 not sent: the message has ") and reply.endswith("the upstream takes 4000")
    assert servers["old"].verbs["MAIL"] == mails
    [tried] = attempts(relay, "large@example.com")
    assert tried["phase"] == "mail"


def test_smtputf8_is_asked_for_where_it_is_needed_and_its_absence_stops_only_what_needs_it(
    relay: Waypost, servers: dict[str, ScriptedUpstream]
) -> None:
    utf8, full = ("SMTPUTF8", "BODY=8BITMIME"), servers["full"]
    assert relay.send(html_mail(), "plain@example.com", sender="a@full.test", options=utf8).startswith("250")
    assert "SMTPUTF8" not in full.to("plain@example.com")[0].mail
    header = html_mail(subject="Grüße")
    assert relay.send(header, "header@example.com", sender="a@full.test", options=utf8).startswith("250")
    assert "SMTPUTF8" in full.to("header@example.com")[0].mail
    assert relay.send(header, "header@example.com", sender="a@old.test", options=utf8).startswith("554 5.6.9")
    with relay.client() as client:
        client.ehlo()
        client.mail("a@old.test", utf8)
        client.command_encoding = "utf-8"
        assert client.rcpt("grüße@example.com")[0] == client.rcpt("ascii@example.com")[0] == 250
        assert client.data(html_mail())[0] == 250
    servers["old"].to("ascii@example.com")
    [event] = relay.events("bounced", "grüße@example.com")
    assert event["detail"].startswith("553 5.6.7 not sent: ")


def test_what_may_have_arrived_is_marked_and_comes_again_with_the_same_octets(
    relay: Waypost, servers: dict[str, ScriptedUpstream]
) -> None:
    assert relay.send(html_mail(), "cut-n1@example.com", sender="a@full.test").startswith("250 2.0.0 accepted")
    first, second = servers["full"].to("cut-n1@example.com", 2)
    assert first.octets == second.octets and b"Message-ID: <m1@sender.test>" in first.octets
    [event] = relay.events("deferred", "cut-n1@example.com")
    assert "it may have arrived" in event["detail"]
    relay.events("delivered", "cut-n1@example.com")
    lost, taken = attempts(relay, "cut-n1@example.com")
    assert (lost["phase"], lost["code"], lost["uncertain"]) == ("dot", 0, True)
    assert (taken["phase"], taken["code"], taken["uncertain"]) == ("dot", 250, False)


@pytest.mark.parametrize(
    ("recipient", "phase", "text"),
    [
        ("close-n2@example.com", "rcpt", "connection lost"),
        ("garbage-n1@example.com", "rcpt", "not an SMTP reply: Hello there!"),
        ("endless-n1@example.com", "rcpt", "the reply has no end"),
    ],
)
def test_a_server_that_fails_before_the_dot_has_nothing_and_gets_it_later(
    relay: Waypost, servers: dict[str, ScriptedUpstream], recipient: str, phase: str, text: str
) -> None:
    relay.send(html_mail(), recipient, sender="a@full.test")
    assert len(servers["full"].to(recipient)) == 1
    relay.events("delivered", recipient)
    for tried in attempts(relay, recipient)[:-1]:
        assert (tried["phase"], tried["text"], tried["uncertain"]) == (phase, text, False)


def test_a_refusal_that_does_not_wait_for_the_octets_is_read(relay: Waypost) -> None:
    reply = relay.send(html_mail(), "early@example.com", sender="a@full.test")
    assert reply == "552 5.3.4 too much, whatever it is"


def test_a_greeting_that_refuses_is_the_upstreams_trouble_and_no_attempt(relay: Waypost) -> None:
    assert relay.send(html_mail(), "busy@example.com", sender="a@busy.test").startswith("250")
    [tried] = attempts(relay, "busy@example.com")[:1]
    assert (tried["phase"], tried["code"]) == ("connect", 421)


def test_without_the_starttls_that_is_wanted_neither_mail_nor_password_goes_out(
    relay: Waypost, servers: dict[str, ScriptedUpstream]
) -> None:
    auths = servers["full"].verbs["AUTH"]
    assert relay.send(html_mail(), "strip@example.com", sender="a@stripped.test").startswith("250")
    [tried] = attempts(relay, "strip@example.com")[:1]
    assert (tried["phase"], tried["text"]) == ("connect", "the upstream offers no STARTTLS")
    assert servers["full"].verbs["AUTH"] == auths
    assert not [one for one in servers["full"].arrivals if "strip@example.com" in one.recipients]
