"""Express and Waypost, each with a database of its own."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.mail.load import wait_for_port
from benchmarks.mail.servers import MailServer, free_port

_HERE = Path(__file__).parent
_PACKAGES = ("express@5", "sqlite3@6")


def install_express(folder: Path) -> None:
    """Fetches the peer's packages into the folder, unless they are there. sqlite3 is compiled, which takes minutes."""
    if not (folder / "node_modules" / "sqlite3").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent", *_PACKAGES], cwd=folder, check=True)


@contextlib.contextmanager
def express(packages: Path, folder: Path) -> Iterator[MailServer]:
    """One process of Node with the packages of that folder."""
    port, folder = free_port(), folder / "express"
    folder.mkdir()
    shutil.copy(_HERE / "pixel_server.js", packages / "pixel_server.js")
    process = subprocess.Popen(["node", str(packages / "pixel_server.js"), str(port), str(folder / "hits.db")])
    try:
        wait_for_port(port)
        yield MailServer("Express + sqlite3", port, process.pid)
    finally:
        process.terminate()
        process.wait(10)
