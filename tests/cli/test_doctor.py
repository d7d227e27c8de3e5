"""`waypost doctor`: what is published, what certificates say, what upstreams offer, and what to do about it."""

import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from relay.config.schema import DkimKey
from relay.rewrite import dkim
from tests.dns_server import DnsServer
from tests.fork_server import IMPORT_PATH
from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost

KEY = rsa.generate_private_key(65537, 2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
NAME, RECORD = dkim.dns_record(DkimKey.model_construct(domain="shop.example", selector="s1", private_key=KEY))
SIGNED = f'[[dkim.key]]\ndomain = "shop.example"\nselector = "s1"\nprivate_key = """{PEM}"""\n'
RETURN_PATH = '[bounces]\nreturn_path = "bounce.shop.example"\n'
HOSTNAME = 'hostname = "mx.shop.example"'


class Line(NamedTuple):
    """A finding."""

    level: str
    subject: str
    detail: str
    remedy: str


def txt(text: str) -> str:
    return " ".join(f'"{part}"' for part in dkim.split_txt(text))


RIGHT = {
    ("mx.shop.example", "A"): ["203.0.113.7"],
    ("7.113.0.203.in-addr.arpa", "PTR"): ["mx.shop.example."],
    ("bounce.shop.example", "MX"): ["10 mx.shop.example."],
    ("bounce.shop.example", "TXT"): [txt("v=spf1 ip4:203.0.113.7 -all")],
    ("shop.example", "TXT"): [txt("google-site-verification=x"), txt("v=spf1 include:spf.up.example ~all")],
    ("spf.up.example", "TXT"): [txt("v=spf1 ip4:198.51.100.0/24 -all")],
    ("_dmarc.shop.example", "TXT"): [txt("v=DMARC1; p=reject; adkim=s")],
    (NAME, "TXT"): [txt(RECORD)],
}


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with DnsServer(RIGHT) as server:
        yield server


def doctor(relay: Waypost, dns: DnsServer, *words: str, status: int = 0) -> list[Line]:
    """The findings, whatever status it is to end with."""
    done, output, errors = relay.command("doctor", "--json", "--resolver", dns.address, *words)
    assert done == status, (output, errors)
    objects = [json.loads(line) for line in output.splitlines()]
    return [Line(one["level"], one["what"], one["detail"], one["remedy"]) for one in objects]


def run(relay: Waypost, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "relay", *words, "--config", str(relay.config)],
        capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": IMPORT_PATH, **environment},
    )  # fmt: skip


def findings_about(findings: list[Line], part: str) -> list[Line]:
    return [line for line in findings if part in line.subject]


def shop(folder: Path, tables: str = "") -> Waypost:
    return Waypost(folder, tables=SIGNED + RETURN_PATH + tables, relay=HOSTNAME)


def test_what_is_published_as_it_should_be_is_fine(dns: DnsServer, tmp_path: Path) -> None:
    found = doctor(shop(tmp_path), dns)
    for part in ("hostname mx.shop.example", "MX of", "SPF of shop", "SPF of [bounces]", "DKIM s1", "DMARC of shop"):
        assert [line.level for line in findings_about(found, part)] == ["ok"], part
    (aligned,) = findings_about(found, "DMARC alignment of shop.example")
    assert aligned.level == "ok" and "d=shop.example" in aligned.detail


@pytest.mark.parametrize(
    ("changed", "level", "subject", "expected"),
    [
        ({(NAME, "TXT"): []}, "fail", "DKIM", "is not published"),
        ({(NAME, "TXT"): [txt("v=DKIM1; k=rsa; p=")]}, "fail", "DKIM", "revoked"),
        ({(NAME, "TXT"): [txt("v=DKIM1; p=MIIBIjANBg")]}, "fail", "DKIM", "with another key"),
        ({(NAME, "TXT"): [txt(RECORD), txt(RECORD + " ")]}, "fail", "DKIM", "has 2 records"),
        ({(NAME, "TXT"): [txt(RECORD + "; t=y")]}, "note", "DKIM", "for testing"),
        ({("mx.shop.example", "A"): []}, "fail", "hostname", "no address"),
        ({("7.113.0.203.in-addr.arpa", "PTR"): []}, "note", "hostname", "has no PTR record"),
        ({("7.113.0.203.in-addr.arpa", "PTR"): ["a.isp.example."]}, "note", "hostname", "leads back to a.isp.example"),
        ({("bounce.shop.example", "MX"): []}, "fail", "MX of", "bounces do not come back"),
        ({("bounce.shop.example", "MX"): ["0 ."]}, "fail", "MX of", "bounces do not come back"),
        ({("bounce.shop.example", "MX"): ["10 other.example."]}, "fail", "MX of", "other.example has no address"),
        ({("mx.shop.example", "CNAME"): ["a.example."]}, "note", "MX of", "is a CNAME"),
        ({("shop.example", "TXT"): []}, "note", "SPF of shop", "there is no record"),
        ({("shop.example", "TXT"): [txt("v=spf1 -all"), txt("v=spf1 ~all")]}, "fail", "SPF of shop", "2 records"),
        ({("shop.example", "TXT"): [txt("v=spf1 a +all")]}, "fail", "SPF of shop", "lets anybody send"),
        ({("shop.example", "TXT"): [txt("v=spf1 include:shop.example -all")]}, "fail", "SPF of shop", "more than 10"),
        ({("shop.example", "TXT"): [txt("v=spf1 " + "a:x.example " * 11 + "-all")]}, "fail", "SPF of", "more than 10"),
        ({("_dmarc.shop.example", "TXT"): []}, "note", "DMARC of shop", "there is no record"),
        ({("_dmarc.shop.example", "TXT"): [txt("v=DMARC1; p=none")] * 1 + [txt("v=DMARC1; p=reject")]},
         "fail", "DMARC of shop", "2 records"),
    ],
)  # fmt: skip
def test_what_is_published_otherwise_is_found_and_has_a_remedy(
    changed: dict[tuple[str, str], list[str]], level: str, subject: str, expected: str, dns: DnsServer, tmp_path: Path
) -> None:
    dns.zone |= changed
    findings = findings_about(doctor(shop(tmp_path), dns, status=1 if level == "fail" else 0), subject)
    assert [line for line in findings if line.level == level and expected in line.detail and line.remedy], findings


def test_dmarc_wants_a_signature_or_a_return_path_of_the_author_s_domain(dns: DnsServer, tmp_path: Path) -> None:
    dns.zone[NAME, "TXT"] = [txt(RECORD)]
    dns.zone["_dmarc.mail.shop.example", "TXT"] = [txt("v=DMARC1; p=none")]
    dns.zone["_dmarc.strict.shop.example", "TXT"] = [txt("v=DMARC1; p=none; adkim=s; aspf=s")]
    dns.zone["_dmarc.other.example", "TXT"] = [txt("v=DMARC1; p=none")]

    def alignment(domain: str) -> str:
        (line,) = findings_about(doctor(shop(tmp_path), dns, "--domain", domain), f"alignment of {domain}")
        return line.level

    assert alignment("mail.shop.example") == "ok"  # relaxed: one organisation
    assert alignment("strict.shop.example") == "note"
    assert alignment("other.example") == "note"


def test_a_public_suffix_signs_for_nobody(dns: DnsServer, tmp_path: Path) -> None:
    relay = Waypost(tmp_path, tables=SIGNED.replace('"shop.example"', '"co.uk"'))
    (found,) = findings_about(doctor(relay, dns, status=1), "DKIM s1._domainkey.co.uk")
    assert "public suffix" in found.detail


def test_a_resolver_that_knows_nothing_is_named_once(dns: DnsServer, tmp_path: Path) -> None:
    dns.broken = {name for name, _ in dns.zone}
    (found,) = findings_about(doctor(shop(tmp_path), dns, status=1), "DNS")
    assert "SERVFAIL" in found.detail and "--resolver" in found.remedy


def test_a_hostname_that_no_mx_can_name_is_not_printed_as_one(tmp_path: Path) -> None:
    expected = Waypost(tmp_path, tables=RETURN_PATH).cli("check").decode()
    assert "IN MX" not in expected and "[bounces] return_path needs an MX that names this machine, and" in expected
    assert "dns   bounce.shop.example. IN MX 10 mx.shop.example." in shop(tmp_path / "b").cli("check").decode()


# --- certificates


def certificate(folder: Path, name: str, days: int, *, is_self_signed: bool = True) -> tuple[Path, Path]:
    """A certificate that ends in so many days, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    issuer = subject if is_self_signed else x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Authority")])
    end = datetime.now(UTC) + timedelta(days=days)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - timedelta(days=90))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return folder / "cert.pem", folder / "key.pem"


@pytest.mark.parametrize(
    ("days", "level", "expected"), [(60, "ok", "until 20"), (5, "note", "ends on 20"), (-1, "fail", "ended on 20")]
)
def test_a_listener_s_certificate_that_ends_is_named(
    days: int, level: str, expected: str, dns: DnsServer, tmp_path: Path
) -> None:
    certificate(tmp_path, "mx.shop.example", days)
    relay = shop(tmp_path)
    text = relay.config.read_text().replace(
        f'address = "127.0.0.1:{relay.port}"\n',
        f'address = "127.0.0.1:{relay.port}"\ntls = "starttls"\ncertificate = "cert.pem"\nkey = "key.pem"\n',
    )
    relay.config.write_text(text)
    (found,) = findings_about(doctor(relay, dns, status=1 if level == "fail" else 0), "certificate of 127.0.0.1")
    assert found.level == level and expected in found.detail


def test_a_certificate_without_its_chain_or_of_another_name_is_remarked_on(dns: DnsServer, tmp_path: Path) -> None:
    certificate(tmp_path, "other.example", 60, is_self_signed=False)
    relay = shop(tmp_path)
    relay.config.write_text(
        relay.config.read_text()
        + '[[listen]]\naddress = "127.0.0.1:0"\ntls = "implicit"\ncertificate = "cert.pem"\nkey = "key.pem"\n'
    )
    details = " ".join(line.detail for line in findings_about(doctor(relay, dns), "certificate of"))
    assert "without the certificates above it" in details and "is of other.example" in details


class _Site(http.server.BaseHTTPRequestHandler):
    """Answers /healthz as the tracking site does."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_the_tracking_site_s_certificate_is_looked_at_as_a_mail_program_does(dns: DnsServer, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "localhost", 5)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Site) as site:
        site.socket = context.wrap_socket(site.socket, server_side=True)
        threading.Thread(target=site.serve_forever, daemon=True).start()
        url = f"https://localhost:{site.server_port}"
        relay = Waypost(tmp_path)
        relay.config.write_text(
            relay.config.read_text().replace(f'public_url = "{relay.tracking}"', f'public_url = "{url}"')
        )
        (found,) = findings_about(doctor(relay, dns, status=1), "public_url")
        assert found.level == "fail" and "not trusted" in found.detail and "whole chain" in found.remedy
        expected = run(relay, "doctor", "--resolver", dns.address, SSL_CERT_FILE=str(cert)).stdout
        assert (
            "note  certificate of localhost: ends on 20" in expected
            and f"ok    [tracking] public_url {url}: answers" in expected
        )
        relay.config.write_text(relay.config.read_text().replace(url, f"{url}/links"))
        expected = run(relay, "doctor", "--resolver", dns.address, SSL_CERT_FILE=str(cert)).stdout
        assert "FAIL  [tracking] public_url" in expected and "answers 404 to /healthz" in expected
        site.shutdown()


# --- upstreams and the machine


def test_an_upstream_s_features_and_limits_are_shown(dns: DnsServer, tmp_path: Path) -> None:
    server = ScriptedUpstream(extensions=("SIZE 1000000", "DSN"))
    try:
        found = findings_about(doctor(Waypost(tmp_path, server.port), dns), "upstream scripted")
    finally:
        server.close()
    details = [line.detail for line in found]
    assert [line.level for line in found] == ["ok", "ok", "note", "note", "note"]
    assert "offers SIZE 1000000, DSN" in details[1] and "takes 1000000 octets a mail" in details[2]
    assert "PIPELINING" in details[3] and "8BITMIME" in details[4]
    assert server.arrivals == []


@pytest.mark.parametrize(
    ("tables", "detail", "remedy"),
    [
        ('tls = "off"\n', "connect: connection refused", "look at address and port"),
        ('tls = "off"\naddress = "no-such-host.invalid:25"\n', "", "look at address, and at this machine's DNS"),
    ],
)
def test_an_upstream_that_does_not_answer_has_an_advice(
    tables: str, detail: str, remedy: str, dns: DnsServer, tmp_path: Path
) -> None:
    table = '[[upstream]]\nname = "gone"\n' + tables + ("" if "address" in tables else 'address = "127.0.0.1:1"\n')
    (found,) = findings_about(doctor(Waypost(tmp_path, tables=table), dns, status=1), "upstream gone")
    assert found.level == "fail" and detail in found.detail and remedy in found.remedy


def test_a_login_that_is_refused_and_a_missing_starttls_have_an_advice(dns: DnsServer, tmp_path: Path) -> None:
    server = ScriptedUpstream(passwords={"me": "right"})
    table = '[[upstream]]\nname = "one"\naddress = "127.0.0.1:{}"\ntls = "{}"\nusername = "me"\npassword = "wrong"\n'
    try:
        (refused,) = findings_about(
            doctor(Waypost(tmp_path / "a", tables=table.format(server.port, "off")), dns, status=1), "upstream one"
        )
        (plain,) = findings_about(
            doctor(Waypost(tmp_path / "b", tables=table.format(server.port, "starttls")), dns, status=1), "upstream one"
        )
    finally:
        server.close()
    assert "auth: 535" in refused.detail and "username, password" in refused.remedy
    assert "offers no STARTTLS" in plain.detail and "implicit" in plain.remedy


def test_disk_clock_and_database_are_looked_at(dns: DnsServer, tmp_path: Path) -> None:
    found = doctor(Waypost(tmp_path), dns)
    assert [line.level for line in findings_about(found, "data and database")] == ["ok"]
    room, speed = findings_about(found, "disk of")
    assert "GB free" in room.detail and speed.detail.startswith("forcing a file to it takes")
    assert [line.subject for line in found].count("clock") == 1
    assert not list((tmp_path / "data").glob(".doctor*"))


def test_check_online_is_the_same_and_says_it_in_lines(dns: DnsServer, tmp_path: Path) -> None:
    dns.zone[NAME, "TXT"] = []
    done = run(shop(tmp_path), "check", "--online", "--resolver", dns.address)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    at = lines.index(f"FAIL  DKIM {NAME}: is not published: receivers cannot verify our signatures")
    assert lines[at + 1].startswith("      -> publish")
