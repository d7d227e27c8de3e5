"""Started as root it binds what only root may, and is somebody else from then on; or systemd binds for it."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waypost_server import ROOT, Waypost, free_port, html_mail

USER = "nobody"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{sysconfig.get_path('purelib')}:{ROOT}"}


@pytest.fixture(scope="module")
def python() -> str:
    """A Python that another user may run: the tests' own may lie in root's home."""
    for candidate in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        try:
            subprocess.run(
                [candidate, "-c", "import relay.node.server"],
                user=USER,
                group=_gid(),
                extra_groups=[],
                cwd="/",
                env=ENVIRONMENT,
                check=True,
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return candidate
    pytest.skip("no Python here that another user can run")


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that every user can reach: pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="waypost-privileges-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


class Started(Waypost):
    """A server that is started by a command of the test's own."""

    def run(self, *command: str, sockets: tuple[socket.socket, ...] = (), **environment: str) -> "Started":
        for place, one in enumerate(sockets, 3):
            os.dup2(one.fileno(), place + 100)
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [*command, "-m", "relay", "serve", "--config", str(self.config)],
                cwd="/", env={**ENVIRONMENT, **environment}, stdout=subprocess.PIPE, stderr=log, text=True,
                pass_fds=[place + 100 for place in range(3, 3 + len(sockets))],
            )  # fmt: skip
        for place in range(3, 3 + len(sockets)):
            os.close(place + 100)
        assert process.stdout is not None
        self.process, self._stdout = process, process.stdout  # type: ignore[assignment]
        self.ready = self._stdout.readline().strip()
        return self


def _gid() -> int:
    return pwd.getpwnam(USER).pw_gid


def _low_port() -> int:
    for port in range(1023, 600, -1):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    pytest.skip("no port under 1024 is free here")


def _status(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.split() for key, _, value in (line.partition(":") for line in lines)}


@as_root
@pytest.mark.sqlite  # that user does not reach the tests' own PostgreSQL
def test_a_user_who_may_only_read_can_read_while_a_server_runs(folder: Path, python: str) -> None:
    def run(*words: str) -> "subprocess.CompletedProcess[bytes]":
        command = [python, "-m", "relay", *words, "--config", str(relay.config)]
        return subprocess.run(
            command, user=USER, group=_gid(), extra_groups=[], cwd="/", env=ENVIRONMENT, capture_output=True
        )

    relay = Waypost(folder)
    data = folder / "data"
    with relay:
        assert relay.send(html_mail(), "ann@example.com").startswith("250")
        for path in (data, *data.iterdir()):
            shutil.chown(path, group=_gid())
            path.chmod(0o750 if path.is_dir() else 0o640)
        for words in (("messages",), ("events",)):
            done = run(*words)
            assert done.returncode == 0 and b"ann@example.com" in done.stdout, done.stderr
        assert b"not writable" in run("suppressions", "add", "bob@example.com").stderr
    done = run("messages")
    assert done.returncode == 1 and b"not writable, and no server has it open" in done.stderr


@as_root
@pytest.mark.sqlite  # that user does not reach the tests' own PostgreSQL
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_root_binds_and_is_the_user_from_then_on(folder: Path, python: str) -> None:
    relay = Started(folder, relay=f'user = "{USER}"\n')
    text, low = relay.config.read_text(), _low_port()
    relay.config.write_text(text.replace(f"127.0.0.1:{relay.port}", f"127.0.0.1:{low}"))
    relay.port = low
    user = pwd.getpwnam(USER)
    relay.run(python)
    try:
        assert relay.process is not None
        assert relay.ready.startswith("ready "), relay.read_log()
        roles = relay.children()
        for pid in (relay.process.pid, *roles):
            status = _status(pid)
            assert status["Uid"] == [str(user.pw_uid)] * 4 and status["Gid"] == [str(user.pw_gid)] * 4
            assert "0" not in status["Groups"]
            assert all(int(status[which][0], 16) == 0 for which in ("CapEff", "CapPrm", "CapAmb"))
        assert all(_status(pid)["NoNewPrivs"] == ["1"] for pid in roles)
        assert relay.send(html_mail(), "ann@example.com").startswith("250")
        os.kill(roles[0], signal.SIGKILL)  # the next one has the port too, which the user could not bind
        assert relay.send(html_mail(), "ann@example.com").startswith("250")
        rotated = subprocess.run(
            [python, "-m", "relay", "keys", "rotate", "--config", str(relay.config)], env=ENVIRONMENT, check=True
        )
        assert rotated.returncode == 0 and (folder / "data" / "keys.json").stat().st_uid == user.pw_uid
        assert relay.get("/healthz").status_code == 200
        assert {path.stat().st_uid for path in [folder / "data", *(folder / "data").rglob("*")]} == {user.pw_uid}
    finally:
        assert relay.stop() == 0
    assert "runs-as-root" not in relay.read_log()


@as_root
def test_a_data_directory_of_somebody_else_is_refused_with_the_remedy(folder: Path) -> None:
    relay = Waypost(folder, relay=f'user = "{USER}"\n')
    remedy = f"chown -R {pwd.getpwnam(USER).pw_uid}:{_gid()} {folder}/data "
    (folder / "data").mkdir()
    for command in (["serve"], ["messages"], ["keys", "list"]):
        said = relay.cli(*command, status=1).decode()
        assert f'{folder}/data does not belong to [relay] user "{USER}"; {remedy}' in said
    os.chown(folder / "data", pwd.getpwnam(USER).pw_uid, _gid())
    (folder / "data" / "waypost.db").touch()  # left by a start as root
    assert f"{folder}/data/waypost.db does not belong" in relay.cli("serve", status=1).decode()


@as_root
def test_a_user_that_cannot_be_is_refused(tmp_path: Path) -> None:
    for number, (settings, fault) in enumerate(
        [
            ('user = "no-such-user"', 'this machine has no user "no-such-user"; useradd --system'),
            (f'user = "{USER}"\ngroup = "no-such-group"', 'this machine has no group "no-such-group"'),
            ('user = "root"', "must not be root's"),
            (f'user = "{USER}"\ngroup = "root"', "must not be root's"),
            (f'group = "{USER}"', "group is set but user is not"),
        ]
    ):
        relay = Waypost(tmp_path / str(number), relay=settings)
        assert fault in relay.cli("serve", status=1).decode()
        assert fault in relay.cli("check", status=1 if "group is set" in fault else 0).decode()


@as_root
def test_a_program_that_the_user_may_not_read_is_refused_with_the_remedy(folder: Path, python: str) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    for package in ("relay", "web"):
        (closed / package).symlink_to(ROOT / package)
    relay = Waypost(folder, relay=f'user = "{USER}"\n')
    done = subprocess.run(
        [python, "-m", "relay", "serve", "--config", str(relay.config)], cwd="/", capture_output=True, text=True,
        env={**ENVIRONMENT, "PYTHONPATH": f"{sysconfig.get_path('purelib')}:{closed}"}, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f'"{USER}" may not read {closed}/relay/' in done.stderr
    assert "install Python and Waypost where all users may read" in done.stderr


@as_root
def test_root_without_a_user_is_remarked_on(tmp_path: Path) -> None:
    with Waypost(tmp_path) as relay:
        assert (
            "note  this is root, and the server would run as root: name a user in [relay] user"
            in relay.cli("check").decode()
        )
    assert relay.read_log().count(" runs-as-root ") == 1
    assert b"this is root" not in Waypost(tmp_path / "b", relay=f'user = "{USER}"').cli("check")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze here")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    for name in ("waypost.service", "waypost.socket"):
        text = (ROOT / "docs" / name).read_text()
        (tmp_path / name).write_text(text.replace("/opt/waypost/bin/waypost", sys.executable))
    said = subprocess.run(
        ["systemd-analyze", "verify", "waypost.service", "waypost.socket"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert (said.returncode, said.stderr) == (0, "")


def _activate(count: int) -> tuple[str, ...]:
    """What systemd does: the sockets from descriptor 3 on, and the number of the process that is meant."""
    moved = " ".join(f"{place}<&{place + 100} {place + 100}<&-" for place in range(3, 3 + count))
    return ("/bin/bash", "-c", f'exec {moved}; LISTEN_PID=$$ exec "$0" "$@"', sys.executable)


def _listening(port: int = 0, host: str = "127.0.0.1") -> socket.socket:
    listener = socket.create_server((host, port or free_port()))
    listener.listen()
    return listener


def test_sockets_of_systemd_are_known_by_address_and_by_name(tmp_path: Path) -> None:
    relay = Started(tmp_path)
    with _listening(relay.port) as smtp, _listening() as tracking:
        port = tracking.getsockname()[1]
        relay.run(*_activate(2), sockets=(smtp, tracking), LISTEN_FDS="2", LISTEN_FDNAMES="waypost.socket:tracking")
    try:
        assert f"smtp=127.0.0.1:{relay.port} " in relay.ready, relay.read_log()
        assert relay.send(html_mail(), "ann@example.com").startswith("250")
        assert relay.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
        assert relay.get(f"{relay.console}/").status_code in (200, 302, 303)  # bound here
        with pytest.raises(OSError), socket.create_connection(("127.0.0.1", int(relay.tracking.rpartition(":")[2]))):
            pass
    finally:
        assert relay.stop() == 0


def test_a_socket_that_nobody_waits_for_is_refused(tmp_path: Path) -> None:
    relay = Started(tmp_path)
    with _listening(relay.port, "0.0.0.0") as wider:  # than the configuration says
        relay.run(*_activate(1), sockets=(wider,), LISTEN_FDS="1", LISTEN_FDNAMES="waypost.socket")
    assert relay.wait() == 1
    assert f'systemd has passed a socket at 0.0.0.0:{relay.port}, named "waypost.socket"' in relay.read_log()
    assert "call it one of smtp, tracking, console (FileDescriptorName=)" in relay.read_log()


def test_sockets_for_another_process_are_left_alone(tmp_path: Path) -> None:
    relay = Started(tmp_path).run(sys.executable, LISTEN_FDS="1", LISTEN_PID="1")
    assert relay.ready.startswith("ready ")
    assert relay.stop() == 0
