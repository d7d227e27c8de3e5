"""TLS to upstreams: implicit and STARTTLS, certificates of an authority of one's own, and those of nobody's."""

import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import make_certificate
from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost, html_mail


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ScriptedUpstream]]:
    """With a certificate for `localhost` that no public authority knows: `cert.pem`, beside `folder`."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not there: apt-get install openssl")
    folder: Path = tmp_path_factory.mktemp("tls")
    make_certificate(folder, "DNS:localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    passwords = {"me": "secret-word"}
    made = {
        "implicit": ScriptedUpstream(tls=context, passwords=passwords),
        "starttls": ScriptedUpstream(starttls=context, passwords=passwords),
    }
    yield made
    for server in made.values():
        server.close()


@pytest.fixture(scope="module")
def relay(servers: dict[str, ScriptedUpstream], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waypost]:
    folder = tmp_path_factory.mktemp("relay-tls")
    cert = next(tmp_path_factory.getbasetemp().glob("tls*/cert.pem"))
    # By name, by a name that the certificate does not have, and without knowing who vouches for it.
    cases = {"known": ("localhost", True), "misnamed": ("127.0.0.1", True), "unknown": ("localhost", False)}
    tables = "".join(
        f'[[upstream]]\nname = "{case}-{tls}"\naddress = "{host}:{server.port}"\ntls = "{tls}"\n'
        f'username = "me"\npassword = "secret-word"\nsenders = ["{tls}@{case}.test"]\noutages = 1000\n'
        + (f'ca_file = "{cert}"\n' if knows else "")
        for tls, server in servers.items()
        for case, (host, knows) in cases.items()
    )
    with Waypost(folder, tables=tables) as running:
        yield running


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
def test_mail_and_password_go_out_under_a_certificate_that_verifies(
    relay: Waypost, servers: dict[str, ScriptedUpstream], tls: str
) -> None:
    mail = html_mail(extra="<p>" + "much more </p>\r\n<p>" * 20_000 + "</p>")  # more than one block
    for n in range(2):
        assert relay.send(mail, f"{n}@example.com", sender=f"{tls}@known.test").startswith("250 2.0.0 Ok")
    first, second = servers[tls].arrivals
    assert (first.user, first.connection) == ("me", second.connection)
    assert first.octets.count(b"much more </p>\r\n<p>") == 20_000 and first.ahead


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
@pytest.mark.parametrize("case", ["misnamed", "unknown"])
def test_neither_mail_nor_password_goes_out_under_one_that_does_not(
    relay: Waypost, servers: dict[str, ScriptedUpstream], tls: str, case: str
) -> None:
    auths, recipient = servers[tls].verbs["AUTH"], f"{tls}-{case}@example.com"
    assert relay.send(html_mail(), recipient, sender=f"{tls}@{case}.test").startswith("250 2.0.0 accepted as ")
    [row] = relay.rows("messages", "--query", recipient)
    tried = row["deliveries"][0]["attempts"][0]
    assert tried["phase"] == "connect" and "CERTIFICATE_VERIFY_FAILED" in tried["text"]
    assert servers[tls].verbs["AUTH"] == auths
