"""The name of this node in the database: of one data directory on one machine.

In: a data directory.  Out: how the names of all workers begin that ever served it. The identity is kept in a file
there; the machine's name is a part too, because a copied data directory must not be taken for the original.
"""

import contextlib
import secrets
import socket
from pathlib import Path

from relay import durable_files

FILE = "node-id"
_MAX_OCTETS = 64


def find(data_dir: Path) -> str:
    """`HOST/ID/`. Makes the file where it is missing; without a disk the identity lasts as long as the process."""
    path = data_dir / FILE
    with contextlib.suppress(OSError):
        if not path.exists():
            durable_files.write(path, secrets.token_hex(6).encode(), only_if_absent=True)
        with path.open("rb") as file:
            return f"{socket.gethostname()}/{file.read(_MAX_OCTETS).decode('ascii', 'replace').strip()}/"
    return f"{socket.gethostname()}/{secrets.token_hex(6)}/"
