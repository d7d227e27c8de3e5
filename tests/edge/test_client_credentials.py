"""`[access] auth = "upstream"`: an app keeps its name and password, and Waypost keeps neither."""

import base64
import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from tests.postgresql_server import IS_POSTGRESQL
from tests.rewrite.keys import ED25519
from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost, html_mail

ANN, BEN = ("ann@sender.test", "ann-Secret-7431"), ("ben", "ben-Secret-9922")
TABLES = """[access]
networks = ["192.0.2.1"]
auth = "upstream"
[delivery]
retry = ["1h"]
[[dkim.key]]
domain = "sender.test"
selector = "e1"
private_key = { file = "key.pem" }
"""
KEY = ED25519.private_key.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    server = ScriptedUpstream(passwords=dict((ANN, BEN)))
    yield server
    server.close()


@pytest.fixture(scope="module")
def relay(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waypost]:
    folder = tmp_path_factory.mktemp("logins")
    (folder / "key.pem").write_bytes(KEY)
    with Waypost(folder, upstream.port, TABLES) as running:
        yield running


def send(relay: Waypost, login: tuple[str, str], recipient: str) -> None:
    with relay.client() as client:
        client.login(*login)
        client.sendmail(login[0] if "@" in login[0] else "app@sender.test", recipient, html_mail())


def test_mail_is_sent_with_the_clients_own_credentials(relay: Waypost, upstream: ScriptedUpstream) -> None:
    for login in (ANN, BEN, ANN):
        send(relay, login, f"{login[0].partition('@')[0]}-own@example.com")
    arrivals = upstream.to("ann-own@example.com", count=2) + upstream.to("ben-own@example.com")
    assert [arrival.user for arrival in arrivals] == [ANN[0], ANN[0], BEN[0]]
    assert arrivals[0].connection == arrivals[1].connection != arrivals[2].connection


def test_a_user_is_signed_for_as_its_own_domain_only(relay: Waypost, upstream: ScriptedUpstream) -> None:
    for login in (ANN, BEN):  # both write as app@sender.test: who ben is, only the upstream knows
        send(relay, login, f"{login[0].partition('@')[0]}-signed@example.com")
    [anns], [bens] = upstream.to("ann-signed@example.com"), upstream.to("ben-signed@example.com")
    assert anns.octets.startswith(b"DKIM-Signature: ") and b"DKIM-Signature" not in bens.octets


def _text(refusal: smtplib.SMTPResponseException) -> bytes:
    assert isinstance(refusal.smtp_error, bytes)
    return refusal.smtp_error


def test_the_upstream_judges(relay: Waypost) -> None:
    with relay.client() as client:
        client.ehlo()
        assert client.esmtp_features["auth"].split() == ["PLAIN", "LOGIN"]
        assert client.docmd("MAIL", "FROM:<app@sender.test>")[0] == 530
        with pytest.raises(smtplib.SMTPAuthenticationError) as refusal:
            client.login(ANN[0], BEN[1])
        assert refusal.value.smtp_code == 535 and _text(refusal.value).startswith(b"5.7.8 ")
        client.login(*ANN)


def test_while_the_upstream_is_out_no_password_is_called_wrong(tmp_path: Path) -> None:
    upstream = ScriptedUpstream(passwords=dict((ANN,)))
    with Waypost(tmp_path, upstream.port, TABLES.partition("[[dkim.key]]")[0]) as relay:
        upstream.close()
        with relay.client() as client, pytest.raises(smtplib.SMTPAuthenticationError) as refusal:
            client.login(*ANN)
        assert refusal.value.smtp_code == 454 and _text(refusal.value).startswith(b"4.7.0 ")


def test_after_a_restart_mail_waits_for_its_user_and_no_password_was_written_down(
    relay: Waypost, upstream: ScriptedUpstream
) -> None:
    recipient = "e451-4.3.0-n1+restart@example.com"
    send(relay, ANN, recipient)
    assert relay.events("deferred", recipient)[0]["reasons"] != ["upstream_auth"]
    relay.stop()
    relay.start()
    relay.cli("queue", "retry", "--all")
    waits = relay.events("deferred", recipient, count=2)
    assert ["upstream_auth"] in [event["reasons"] for event in waits]
    send(relay, BEN, "ben-meanwhile@example.com")
    assert not [arrival for arrival in upstream.arrivals if recipient in arrival.recipients]
    with relay.client() as client:
        client.login(*ANN)
    [arrival] = upstream.to(recipient)
    assert arrival.user == ANN[0]
    relay.stop()
    written = {path: path.read_bytes() for path in relay.folder.rglob("*") if path.is_file()}
    if not IS_POSTGRESQL:
        assert any(b"e451-4.3.0-n1+restart@example.com" in octets for octets in written.values())
    for name, password in (ANN, BEN):
        for form in (password, *_encoded(name, password)):
            assert not [path for path, octets in written.items() if form.encode() in octets], form


def test_all_mail_processes_know_a_login(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    tables = TABLES.partition("[[dkim.key]]")[0].replace("1h", "1s")
    recipients = [f"e451-4.3.0-n1+both{n}@example.com" for n in range(12)]
    with Waypost(tmp_path, upstream.port, tables, relay="workers = 2") as relay:
        with relay.client() as client:
            client.login(*ANN)
            for recipient in recipients:
                client.sendmail(ANN[0], recipient, html_mail())
        assert {upstream.to(recipient)[0].user for recipient in recipients} == {ANN[0]}
        assert not [event for event in relay.rows("events") if event["reasons"] == ["upstream_auth"]]


def _encoded(name: str, password: str) -> list[str]:
    """As they go over the wire."""
    plain = base64.b64encode(f"\0{name}\0{password}".encode()).decode()
    return [plain, base64.b64encode(password.encode()).decode()]
