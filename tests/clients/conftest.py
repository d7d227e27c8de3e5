"""One server for all clients: a listener in clear, one with STARTTLS, one with TLS from the first octet."""

from collections.abc import Callable, Iterator

import pytest

from relay.store.console import accounts
from tests.certificates import make_certificate
from tests.clients.shop import PASSWORD, USER, Shop, Way
from tests.upstream import Arrival, ScriptedUpstream
from tests.waypost_server import Waypost, free_port

WAYS = ["plain", "login", "starttls", "implicit"]


@pytest.fixture(scope="package")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("clients")
    make_certificate(folder)
    upstream, starttls, implicit = ScriptedUpstream(), free_port(), free_port()
    tables = f'[access]\n[[access.user]]\nname = "{USER}"\npassword_hash = "{accounts.hash_password(PASSWORD)}"\n'
    for tls, port in (("starttls", starttls), ("implicit", implicit)):
        tables += (
            f'[[listen]]\naddress = "127.0.0.1:{port}"\ntls = "{tls}"\ncertificate = "cert.pem"\nkey = "key.pem"\n'
        )
    with Waypost(folder, upstream.port, tables) as relay:
        certificate = folder / "cert.pem"
        ways = [
            Way("plain", relay.port, "", False, certificate, "ESMTP"),
            Way("login", relay.port, "", True, certificate, "ESMTPA"),
            Way("starttls", starttls, "starttls", True, certificate, "ESMTPSA"),
            Way("implicit", implicit, "implicit", True, certificate, "ESMTPSA"),
        ]
        yield Shop({way.name: way for way in ways}, upstream, relay)
    upstream.close()


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, shop: Shop) -> Way:
    return shop.ways[request.param]


@pytest.fixture
def arrived(shop: Shop, way: Way) -> Callable[[str], Arrival]:
    """The mail of that client, checked for how it came in."""

    def look(client: str) -> Arrival:
        [arrival] = shop.upstream.wait_for(
            lambda one: way.recipient in one.recipients and f"Subject: {client}\r\n".encode() in one.octets
        )
        assert f" with {way.protocol} id ".encode() in arrival.octets
        assert arrival.mail.startswith("MAIL FROM:<app@sender.test>")
        return arrival

    return look
