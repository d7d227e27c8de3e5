"""The server that the dialogs need beside `relay`, and the upstream behind it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from relay.store.console import accounts
from tests.upstream import EXTENSIONS, Upstream
from tests.waypost_server import Waypost, free_port

# One server has all that `relay` has not: networks of others, a user, TLS, PROXY, short patience, small limits.
LISTENERS = {
    "stranger": "",
    "starttls": 'tls = "starttls"\n',
    "implicit": 'tls = "implicit"\n',
    "proxied": 'tls = "starttls"\nproxy_protocol = true\n',
    "proxied_implicit": 'tls = "implicit"\nproxy_protocol = true\n',
    "proxied_elsewhere": 'proxy_protocol = true\nproxy_networks = ["192.0.2.1"]\n',
}
ACCESS = """[access]
networks = ["192.0.2.0/24"]
max_recipients = 2
max_size = "64KB"
max_in_flight = "80KB"
idle_timeout = "2s"
[[access.user]]
name = "shop"
senders = ["@shop.test"]
"""


class Guarded(NamedTuple):
    """The server, the ports of its listeners, and its upstream."""

    relay: Waypost
    ports: dict[str, int]
    upstream: Upstream


def make_certificate(folder: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("dialogs")
    make_certificate(folder)
    upstream = Upstream(extensions=(*dict.fromkeys((*EXTENSIONS, "DSN")),))
    ports = {name: free_port() for name in LISTENERS}
    tables = ACCESS + f'password_hash = "{accounts.hash_password("correct horse")}"\n'
    for name, keys in LISTENERS.items():
        certificate = 'certificate = "cert.pem"\nkey = "key.pem"\n' if "tls" in keys else ""
        tables += f'[[listen]]\naddress = "127.0.0.1:{ports[name]}"\n{keys}{certificate}'
    with Waypost(folder, upstream.port, tables) as relay:
        yield Guarded(relay, ports, upstream)
    upstream.close()
