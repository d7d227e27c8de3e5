"""Two PostgreSQL servers on TCP ports: one takes writes, the other follows it (streaming replication).

A commit waits for both (`synchronous_standby_names`), so that nothing is lost with the first one. `fail_over` kills it
and promotes the other; `follow` brings it back as the standby.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg

from relay.store.database import preparation
from tests import postgresql_server
from tests.waiting import until
from tests.waypost_server import free_port

_DATABASE = "waypost"
_SETTINGS = "-h 127.0.0.1 -k '' -F"  # no Unix socket; what they store need not outlive a power cut


class ReplicatedPostgreSQL:
    """The servers. `url` names both, in the way of libpq."""

    def __init__(self, folder: Path) -> None:
        programs = postgresql_server.server()
        self._bin = programs.bin_path
        self._user = programs.system_user  # PostgreSQL does not run as root
        self._folder = folder
        if self._user:
            account = pwd.getpwnam(self._user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        self.ports = [free_port(), free_port()]
        places = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        self.url = f"postgresql+psycopg://postgres@{places}/{_DATABASE}"
        self.writing = 0  # which one takes writes
        self._run("initdb", "--auth=trust", "--encoding=utf8", "-U", "postgres", "-D", self._data(0))
        self._start(0)
        self._execute(0, f"CREATE DATABASE {_DATABASE}")
        preparation.prepare_database(self.url)  # before there is a second one: the first that answers is taken
        self.follow()

    def restart(self) -> None:
        """The one that takes writes is stopped, as for an upgrade, and started again."""
        self._stop(self.writing, "fast")
        self._start(self.writing)

    def fail_over(self) -> None:
        """The one that takes writes dies, and the other takes them from now on."""
        self._stop(self.writing, "immediate")
        self.writing = 1 - self.writing
        self._execute_alone()
        self._run("pg_ctl", "-w", "-D", self._data(self.writing), "promote")

    def follow(self) -> None:
        """The other one is made anew as the standby, and each commit waits for it from now on."""
        one = 1 - self.writing
        shutil.rmtree(self._data(one), ignore_errors=True)
        source = f"host=127.0.0.1 port={self.ports[self.writing]} user=postgres"
        self._run("pg_basebackup", "-R", "-c", "fast", "-d", source, "-D", self._data(one))
        self._start(one)
        self._execute(self.writing, "ALTER SYSTEM SET synchronous_standby_names = '*'")
        self._execute(self.writing, "SELECT pg_reload_conf()")
        states = "SELECT sync_state FROM pg_stat_replication"
        until(lambda: self._execute(self.writing, states), fits=lambda rows: ("sync",) in rows)

    def close(self) -> None:
        for one in (0, 1):
            if (Path(self._data(one)) / "postmaster.pid").exists():
                self._stop(one, "immediate")

    def _execute_alone(self) -> None:
        """The standby will have no standby: its commits wait for nobody."""
        with (Path(self._data(self.writing)) / "postgresql.auto.conf").open("a") as settings:
            settings.write("synchronous_standby_names = ''\n")

    def _data(self, one: int) -> str:
        return str(self._folder / f"server{one}")

    def _start(self, one: int) -> None:
        settings = f"-p {self.ports[one]} {_SETTINGS}"
        self._run("pg_ctl", "-w", "-D", self._data(one), "-l", f"{self._data(one)}.log", "-o", settings, "start")

    def _stop(self, one: int, mode: str) -> None:
        self._run("pg_ctl", "-w", "-D", self._data(one), "-m", mode, "stop")

    def _execute(self, one: int, statement: str) -> list[tuple[object, ...]]:
        place = f"host=127.0.0.1 port={self.ports[one]} user=postgres"
        with psycopg.connect(place, autocommit=True) as connection:
            done = connection.execute(statement.encode())
            return done.fetchall() if done.description else []

    def _run(self, program: str, *arguments: str) -> None:
        with tempfile.TemporaryFile() as said:  # a pipe would stay open: the server inherits it
            command = [str(self._bin / program), *arguments]
            done = subprocess.run(command, user=self._user, stdout=said, stderr=said, cwd="/", timeout=60)
            said.seek(0)
            logs = "".join(path.read_text() for path in self._folder.glob("*.log"))
            assert done.returncode == 0, said.read().decode() + logs


@contextmanager
def replicated() -> Iterator[ReplicatedPostgreSQL]:
    """Both servers, until the block ends."""
    with (
        tempfile.TemporaryDirectory(prefix="waypost-replicated-", ignore_cleanup_errors=True) as folder,
        closing(ReplicatedPostgreSQL(Path(folder))) as servers,
    ):
        yield servers
