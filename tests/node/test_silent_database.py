"""A database that takes connections and says nothing: a start, or a command, ends with a reason or says so."""

import os
import re
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from relay import tokens
from relay.node.data_directory import KEYS_FILE
from tests.fork_server import Process
from tests.waiting import until
from tests.waypost_server import FORK_SERVER, free_port

_SSL_REQUEST, _GSS_REQUEST = struct.pack("!I", 80877103), struct.pack("!I", 80877104)
_VALUES = (b"server_version", b"16.4"), (b"client_encoding", b"UTF8"), (b"standard_conforming_strings", b"on")


def _message(type_: bytes, body: bytes) -> bytes:
    return type_ + struct.pack("!I", len(body) + 4) + body


def _log_in(client: socket.socket) -> None:
    """PostgreSQL's side of the protocol, version 3.0, up to ReadyForQuery; less of it for a client that is killed."""
    with suppress(OSError):
        while head := client.recv(4, socket.MSG_WAITALL):
            (length,) = struct.unpack("!I", head)
            if client.recv(length - 4)[:4] not in (_SSL_REQUEST, _GSS_REQUEST):
                _send_greeting(client)
                return
            client.sendall(b"N")


def _send_greeting(client: socket.socket) -> None:
    values = b"".join(_message(b"S", name + b"\0" + value + b"\0") for name, value in _VALUES)
    key, ready = _message(b"K", struct.pack("!II", 1, 2)), _message(b"Z", b"I")
    client.sendall(_message(b"R", struct.pack("!I", 0)) + values + key + ready)


@contextmanager
def silent_server(*, logs_in: bool) -> Iterator[str]:
    """The URL of a database that never answers."""
    clients: list[socket.socket] = []

    def accept(server: socket.socket) -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            clients.append(client)
            if logs_in:
                threading.Thread(target=_log_in, args=(client,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=accept, args=(server,), daemon=True)
        thread.start()
        try:
            yield f"postgresql+psycopg://ann@127.0.0.1:{server.getsockname()[1]}/waypost"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for client in clients:
                client.close()


@contextmanager
def started(folder: Path, url: str, *commands: str) -> Iterator[dict[str, Process]]:
    """Commands at once; what they say is in files of their names."""
    (folder / "config.toml").write_text(
        f'[relay]\ndata_dir = "data"\n[[listen]]\naddress = "127.0.0.1:{free_port()}"\n'
        f'[tracking]\nlisten = "127.0.0.1:{free_port()}"\n[console]\nlisten = "127.0.0.1:{free_port()}"\n'
        f'[database]\nurl = "{url}"\n'
    )
    running: dict[str, Process] = {}
    for words in commands:
        with Path(os.devnull).open("rb") as nothing, (folder / words).open("wb") as said:
            running[words] = FORK_SERVER.start([words, "--config", str(folder / "config.toml")], nothing, said, said)
    try:
        yield running
    finally:
        for process in running.values():
            process.send_signal(signal.SIGKILL)
            process.wait(30)


def test_a_server_that_accepts_connections_only_ends_them_with_a_reason(tmp_path: Path) -> None:
    with silent_server(logs_in=False) as url, started(tmp_path, url, "serve", "messages") as running:
        for words, process in running.items():
            assert process.wait(60) == 1
            assert "cannot open the database: connection timeout expired" in (tmp_path / words).read_text()


def test_who_waits_for_a_server_that_hangs_says_so(tmp_path: Path) -> None:
    def lines(words: str) -> int:
        said = (tmp_path / words).read_text()
        return len(
            re.findall(r" warning waiting-for-database for_s=\d+\n|: the database has not answered for \d+ s;", said)
        )

    with silent_server(logs_in=True) as url, started(tmp_path, url, "serve", "messages", "doctor") as running:
        for words, process in running.items():
            until(partial(lines, words), fits=lambda count: count >= 2)
            assert process.poll() is None
        running["serve"].send_signal(signal.SIGTERM)
        assert running["serve"].wait(30) == -signal.SIGTERM


def test_sigterm_during_the_preparation_leaves_no_process_that_goes_on_with_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    tokens.open_key_ring(tmp_path / "data" / KEYS_FILE)  # without keys, the server itself looks for mail first
    with silent_server(logs_in=True) as url, started(tmp_path, url, "serve") as running:
        serve = running["serve"]
        [preparing] = until(Path(f"/proc/{serve.pid}/task/{serve.pid}/children").read_text).split()
        serve.terminate()
        assert serve.wait(30) == -signal.SIGTERM
        assert not Path(f"/proc/{preparing}").exists()
