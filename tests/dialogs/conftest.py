"""The server that the dialogs need beside `relay`, and the upstream behind it."""

from collections.abc import Iterator

import pytest

from relay.store.console import accounts
from tests.certificates import make_certificate
from tests.dialogs.guarded import ACCESS, LISTENERS, Guarded
from tests.upstream import EXTENSIONS, ScriptedUpstream
from tests.waypost_server import Waypost, free_port


@pytest.fixture(scope="package")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("dialogs")
    make_certificate(folder)
    upstream = ScriptedUpstream(extensions=(*dict.fromkeys((*EXTENSIONS, "DSN")),))
    ports = {name: free_port() for name in LISTENERS}
    tables = ACCESS + f'password_hash = "{accounts.hash_password("correct horse")}"\n'
    for name, keys in LISTENERS.items():
        certificate = 'certificate = "cert.pem"\nkey = "key.pem"\n' if "tls" in keys else ""
        tables += f'[[listen]]\naddress = "127.0.0.1:{ports[name]}"\n{keys}{certificate}'
    with Waypost(folder, upstream.port, tables) as relay:
        yield Guarded(relay, ports, upstream)
    upstream.close()
