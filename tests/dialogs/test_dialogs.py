"""Every fact of the edge (docs/design.md: SMTP in) as a dialog with the real server."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.store import accounts
from tests.dialogs.script import Player
from tests.stage import Waypost, free_port
from tests.upstream import EXTENSIONS, Upstream

SCRIPTS = sorted(Path(__file__).parent.glob("*.txt"))
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
idle_timeout = "2s"
[[access.user]]
name = "shop"
senders = ["@shop.test"]
"""


@pytest.fixture(scope="session")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, int], Upstream]]:
    folder = tmp_path_factory.mktemp("dialogs")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    upstream = Upstream(extensions=(*dict.fromkeys((*EXTENSIONS, "DSN")),))
    ports = {name: free_port() for name in LISTENERS}
    tables = ACCESS + f'password_hash = "{accounts.hash_password("correct horse")}"\n'
    for name, keys in LISTENERS.items():
        certificate = 'certificate = "cert.pem"\nkey = "key.pem"\n' if "tls" in keys else ""
        tables += f'[[listen]]\naddress = "127.0.0.1:{ports[name]}"\n{keys}{certificate}'
    with Waypost(folder, upstream.port, tables):
        yield ports, upstream
    upstream.close()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_the_dialog_goes_as_written(
    path: Path, relay: Waypost, upstream: Upstream, ports: tuple[dict[str, int], Upstream]
) -> None:
    others, behind_them = ports
    upstreams = dict.fromkeys(others, behind_them) | {"relay": upstream}
    Player(others | {"relay": relay.port}, upstreams).play(path)
