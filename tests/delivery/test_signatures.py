"""Signatures through the real relay: ours verify where the mail arrives, and those of others still do."""

import base64
import quopri
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from relay import ids
from relay.config import load
from relay.config.values import PrivateKey
from relay.edits import splice
from relay.rewrite import dkim
from relay.rewrite import plan as planning
from relay.store.database.rows import Message
from relay.tokens import Minter
from tests.rewrite.keys import ED25519, OTHER, RSA, SigningKey, verdicts
from tests.rewrite.mails import RING
from tests.upstream import Arrival, ScriptedUpstream
from tests.waypost_server import Waypost, html_mail, tracking_urls
from web import mail_view

_WHEN = datetime(2026, 11, 12, 9, 1, tzinfo=UTC)
_DELIVERY = '[delivery]\nretry = ["1s"]\n'
_KEYS = (SigningKey("sender.test", "r1", RSA.private_key), SigningKey("sender.test", "e1", ED25519.private_key))
_HTML = b'<p>Gr\xc3\xbc\xc3\x9fe, <a href="https://shop.example/a?b=1">see</a></p>\r\n' * 3


def _pem(key: PrivateKey | ec.EllipticCurvePrivateKey, form: str = "PKCS8", word: bytes = b"") -> str:
    sealed = serialization.BestAvailableEncryption(word) if word else serialization.NoEncryption()
    octets = key.private_bytes(serialization.Encoding.PEM, getattr(serialization.PrivateFormat, form), sealed)
    return octets.decode("ascii")


def _table(key: dkim.Key, private_key: str) -> str:
    return f'[[dkim.key]]\ndomain = "{key.domain}"\nselector = "{key.selector}"\nprivate_key = {private_key}\n'


@pytest.fixture(scope="module")
def signing(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waypost]:
    """A relay that signs for sender.test with an RSA key from a file and an Ed25519 key."""
    folder: Path = tmp_path_factory.mktemp("signing")
    (folder / "rsa.pem").write_text(_pem(RSA.private_key, "TraditionalOpenSSL"))
    tables = _table(_KEYS[0], '{ file = "rsa.pem" }') + _table(_KEYS[1], f'"""{_pem(ED25519.private_key)}"""')
    with Waypost(folder, upstream.port, tables + _DELIVERY) as running:
        yield running


def _mail(encoding: str, body: bytes) -> bytes:
    return html_mail(header=f"Content-Transfer-Encoding: {encoding}\r\n").partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + body


def _arrived(relay: Waypost, upstream: ScriptedUpstream, octets: bytes, recipient: str) -> Arrival:
    assert relay.send(octets, recipient).startswith("250 ")
    [arrival] = upstream.to(recipient)
    return arrival


# --- ours


@pytest.mark.parametrize("encoding", ["8bit", "quoted-printable", "base64"])
def test_rewritten_mail_verifies_where_it_arrives(signing: Waypost, upstream: ScriptedUpstream, encoding: str) -> None:
    body = {
        "8bit": _HTML,
        "quoted-printable": quopri.encodestring(_HTML.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n"),
        "base64": base64.encodebytes(_HTML).replace(b"\n", b"\r\n"),
    }[encoding]
    recipient = f"dkim-{encoding}@example.com"
    octets = _arrived(signing, upstream, _mail(encoding, body), recipient).octets
    assert b"\r\nList-Unsubscribe:" in octets and octets.startswith(b"DKIM-Signature: v=1; a=rsa-sha256;")
    assert verdicts(octets, *_KEYS) == [True, True]


def test_each_recipients_mail_verifies(signing: Waypost, upstream: ScriptedUpstream) -> None:
    recipients = [f"dkim-{n}@example.com" for n in range(3)]
    signing.send(html_mail(), *recipients)
    found = [upstream.to(recipient)[0].octets for recipient in recipients]
    assert len(set(found)) == 3 and all(verdicts(octets, *_KEYS) == [True, True] for octets in found)


def test_a_retry_sends_the_same_octets(signing: Waypost, upstream: ScriptedUpstream) -> None:
    recipient = "d451-4.3.0-n2+dkim@example.com"
    assert signing.send(html_mail(), recipient).startswith("250 2.0.0 accepted as ")
    arrived = upstream.to(recipient)[0].octets
    before = [tried.octets for tried in upstream.turned_away if recipient in tried.recipients]
    assert before == [arrived, arrived]
    assert verdicts(arrived, *_KEYS) == [True, True]


def test_mail_that_the_author_signed_is_rewritten_and_signed_again(
    signing: Waypost, upstream: ScriptedUpstream
) -> None:
    mail = dkim.make_signature(html_mail(), _KEYS[0], _WHEN) + html_mail()
    octets = _arrived(signing, upstream, mail, "dkim-renewed@example.com").octets
    assert tracking_urls(octets)["c"] and verdicts(octets, *_KEYS) == [True, True]


def test_mail_whose_key_was_withdrawn_goes_as_it_came_with_its_old_signature(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    keys = _table(_KEYS[0], f'"""{_pem(RSA.private_key)}"""')
    relay = Waypost(tmp_path, upstream.port, _DELIVERY.replace("1s", "3s") + keys)
    mail = dkim.make_signature(html_mail(), _KEYS[0], _WHEN) + html_mail()
    recipient = "d451-4.3.0-n1+withdrawn@example.com"
    with relay:
        assert relay.send(mail, recipient).startswith("250 2.0.0 accepted as ")
    relay.config.write_text(relay.config.read_text().replace(keys, ""))
    with relay:
        [arrival] = upstream.to(recipient)
    assert arrival.octets.startswith(b"Received: ") and arrival.octets.endswith(mail)
    assert verdicts(arrival.octets, *_KEYS) == [True]
    assert " not-signed message=" in relay.read_log() and "domain=sender.test" in relay.read_log()


def test_a_fault_of_ours_while_signing_is_shown_and_the_mail_goes_as_it_came(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    relay = Waypost(tmp_path, upstream.port, _DELIVERY + _table(_KEYS[0], f'"""{_pem(RSA.private_key)}"""'))
    relay.mistakes = ["relay.rewrite.dkim:make_signature"]
    with relay:
        assert relay.send(html_mail(), "unsigned@example.com").startswith("250")
    [arrival] = upstream.to("unsigned@example.com")
    assert arrival.octets.endswith(html_mail()) and b"DKIM-Signature" not in arrival.octets
    assert "fault where=dkim" in relay.read_log() and "not-signed message=" in relay.read_log()


def test_the_console_shows_the_very_octets_that_were_signed() -> None:
    received, minter = html_mail(), Minter(RING, "https://track.example")
    made = planning.plan(received, planning.Settings("https://track.example", dkim=frozenset({"sender.test"})))
    message = Message(id=ids.new(), accepted_at=_WHEN, expires_at=_WHEN, plan=made.to_json())
    edits = mail_view.edits_for_recipient(message, received, minter, dkim.Signer(_KEYS), 0, tracked=True)
    assert verdicts(splice(received, edits), *_KEYS) == [True, True]


def test_the_command_line_shows_what_is_sent(signing: Waypost, tmp_path: Path) -> None:
    (tmp_path / "mail.eml").write_bytes(html_mail())
    report = tmp_path / "report.json"
    octets = signing.cli("instrument", str(tmp_path / "mail.eml"), "--to", "ann@example.com", "--report", str(report))
    assert verdicts(octets, *_KEYS) == [True, True]
    assert '"why": "dkim"' in report.read_text()


# --- others'


def test_mail_signed_by_another_still_verifies_though_we_added_received(
    relay: Waypost, upstream: ScriptedUpstream
) -> None:
    mail = dkim.make_signature(html_mail(), OTHER, _WHEN) + html_mail()
    octets = _arrived(relay, upstream, mail, "dkim-other@example.com").octets
    assert octets.startswith(b"Received: ") and octets.endswith(mail)
    assert verdicts(octets, OTHER) == [True]


@pytest.mark.parametrize("form", [[], ["-nodetach"]], ids=["multipart", "opaque"])
def test_smime_verifies_after_the_relay(
    relay: Waypost, signing: Waypost, upstream: ScriptedUpstream, tmp_path: Path, form: list[str]
) -> None:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not there: apt-get install openssl")
    (tmp_path / "inner").write_bytes(b"Content-Type: text/html\r\n\r\n" + _HTML.replace("ü".encode(), b"u"))

    def openssl(*words: str) -> bytes:
        return subprocess.run(["openssl", *words], cwd=tmp_path, check=True, capture_output=True).stdout

    openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem"),
        *("-subj", "/CN=app/emailAddress=app@sender.test", "-days", "2"),
    )
    signed = openssl(
        *("smime", "-sign", "-in", "inner", "-signer", "cert.pem", "-inkey", "key.pem", "-crlfeol", *form),
        *("-from", "app@sender.test", "-to", "ann@example.com", "-subject", "signed"),
    )
    mail = signed.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    for name, through in (("plain", relay), ("dkim", signing)):
        recipient = f"smime-{name}-{len(form)}@example.com"
        octets = _arrived(through, upstream, mail, recipient).octets
        (tmp_path / "arrived.eml").write_bytes(octets)
        said = openssl("smime", "-verify", "-in", "arrived.eml", "-CAfile", "cert.pem")
        assert said.replace(b"\r\n", b"\n") == (tmp_path / "inner").read_bytes().replace(b"\r\n", b"\n")
        assert octets.endswith(mail.partition(b"\r\n\r\n")[2])
    assert verdicts(octets, *_KEYS) == [True, True]


def test_pgp_mime_verifies_after_the_relay(relay: Waypost, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    if not shutil.which("gpg"):
        pytest.skip("gpg is not there: apt-get install gnupg")
    home = Path(tempfile.mkdtemp(prefix="gpg"))  # its socket's path must be short
    try:

        def gpg(*words: str) -> bytes:
            whole = [
                "gpg",
                "--homedir",
                str(home),
                "--batch",
                "--pinentry-mode",
                "loopback",
                "--passphrase",
                "",
                *words,
            ]
            return subprocess.run(whole, cwd=tmp_path, check=True, capture_output=True).stdout

        gpg("--quick-generate-key", "app@sender.test", "ed25519", "sign", "1d")
        inner = b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + _HTML
        (tmp_path / "inner").write_bytes(inner)
        seal = gpg("--armor", "--detach-sign", "--output", "-", "inner").replace(b"\n", b"\r\n")
        mail = (
            b"From: app@sender.test\r\nTo: ann@example.com\r\nSubject: sealed\r\nMIME-Version: 1.0\r\n"
            b'Content-Type: multipart/signed; boundary="bb"; micalg=pgp-sha512;\r\n'
            b' protocol="application/pgp-signature"\r\n\r\n'
            b"--bb\r\n"
            + inner
            + b"\r\n--bb\r\nContent-Type: application/pgp-signature\r\n\r\n"
            + seal
            + b"\r\n--bb--\r\n"
        )
        octets = _arrived(relay, upstream, mail, "pgp@example.com").octets
        assert octets.endswith(mail)
        first, second = octets.split(b"--bb\r\n")[1:]
        (tmp_path / "arrived").write_bytes(first.removesuffix(b"\r\n"))
        (tmp_path / "arrived.asc").write_bytes(second.partition(b"\r\n\r\n")[2].partition(b"\r\n--bb")[0])
        gpg("--verify", "arrived.asc", "arrived")
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, capture_output=True)
        shutil.rmtree(home)


# --- the configuration


def test_check_prints_the_records_to_publish(tmp_path: Path) -> None:
    weak = SigningKey("sender.test", "weak", rsa.generate_private_key(65537, 1024))
    relay = Waypost(tmp_path, tables="".join(_table(key, f'"""{_pem(key.private_key)}"""') for key in (*_KEYS, weak)))
    said = relay.cli("check").decode()
    for key in _KEYS:
        name, text = dkim.dns_record(key)
        [line] = [line for line in said.splitlines() if name in line]
        assert line.startswith(f"dns   {name}. IN TXT ")
        strings = line.split('"')[1::2]
        assert "".join(strings) == text and all(len(string) <= 255 for string in strings)
    assert "note  [[dkim.key]] weak of sender.test: 1024 bits; use 2048" in said


@pytest.mark.parametrize(
    ("pem", "fault"),
    [
        ("no key", "must be a private key in PEM (-----BEGIN PRIVATE KEY-----)"),
        (
            RSA.private_key.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode(),
            "must be a private key in PEM (-----BEGIN PRIVATE KEY-----), not a public key",
        ),
        (_pem(ec.generate_private_key(ec.SECP256R1())), "must be an RSA or Ed25519 key: DKIM has no other"),
        (_pem(RSA.private_key, word=b"x"), "the private key is encrypted; give it without a passphrase"),
    ],
    ids=["text", "public", "curve", "encrypted"],
)
def test_an_invalid_key_is_reported_without_showing_it(tmp_path: Path, pem: str, fault: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(_table(_KEYS[0], f'"""{pem}"""'))
    with pytest.raises(load.ConfigError) as error:
        load.load(path, {})
    assert error.value.faults == [f"{path}: [[dkim.key]] #1 private_key: {fault}"]


def test_domains_and_selectors_are_checked_and_distinguished(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    (tmp_path / "key.pem").write_text(_pem(ED25519.private_key))
    given = '{ file = "key.pem" }'
    path.write_text(_table(SigningKey("a b", "s 1", ED25519.private_key), given))
    with pytest.raises(load.ConfigError) as error:
        load.load(path, {})
    assert [fault.split(": ")[1:3] for fault in error.value.faults] == [
        ["[[dkim.key]] #1 domain", 'must be a domain such as "example.com", not "a b"'],
        ["[[dkim.key]] #1 selector", 'must be a domain such as "example.com", not "s 1"'],
    ]
    path.write_text(2 * _table(SigningKey("Bücher.example", "s1", ED25519.private_key), given))
    with pytest.raises(load.ConfigError, match=r"\[dkim\] key: s1._domainkey.xn--bcher-kva.example is given twice"):
        load.load(path, {})
    path.write_text(_table(_KEYS[0], '{ file = "none.pem" }'))
    with pytest.raises(load.ConfigError, match=r"private_key: cannot read the secret's file none.pem: No such file"):
        load.load(path, {})
