"""Crowds of connections, few file descriptors, large and odd mail."""

import contextlib
import resource
import secrets
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

from benchmarks.chaos.fault_run import FaultRun


@contextlib.contextmanager
def _idle(ports: dict[int, int]) -> Iterator[list[socket.socket]]:
    """So many connections to each port, which say nothing."""
    with contextlib.ExitStack() as stack:
        made = []
        for port, count in ports.items():
            for _ in range(count):
                with contextlib.suppress(OSError):
                    made.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), 2)))
        yield made


def _is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        while octets := connection.recv(4096):
            if not octets:
                return True
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def idle(title: str, descriptors: int, smtp: int, http: int, fault_s: float) -> None:
    with FaultRun(title) as scene:
        for pid in scene.roles():
            if descriptors:
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors, descriptors))
        port = int(scene.node.tracking.rpartition(":")[2])
        with scene.links(), scene.load(10.0):
            with _idle({scene.node.port: smtp, port: http}) as made:
                sleep(fault_s)
                scene.note(f"{sum(map(_is_closed, made))} of {len(made)} closed by the server")
            sleep(5)
        scene.wait_for_arrivals()


def slow() -> None:
    """Slow bodies, and resets at each stage."""
    with FaultRun("5 200 slowloris in DATA + 420 RST (7 stages × 60)") as scene, contextlib.ExitStack() as stack:
        with scene.load(20.0):
            held = [_dialogue(scene.node.port, 5) for _ in range(90)]
            for one in held:
                stack.enter_context(one)
            for stage in range(7):
                for _ in range(60):
                    one = _dialogue(scene.node.port, stage)
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    one.close()
                for one in held:
                    with contextlib.suppress(OSError):
                        one.sendall(b"x\r\n")
                sleep(3)
        scene.wait_for_arrivals()


_STEPS = (
    b"",
    b"EHLO x\r\n",
    b"MAIL FROM:<a@x.test>\r\n",
    b"RCPT TO:<b@x.test>\r\n",
    b"DATA\r\n",
    b"Subject: x\r\n\r\n",
    b".\r\n",
)


def _dialogue(port: int, stage: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 10)
    connection.settimeout(10)
    for number, step in enumerate(_STEPS[: stage + 1]):
        with contextlib.suppress(OSError):
            connection.sendall(step)
            if number < 5:
                connection.recv(4096)
    return connection


def many_recipients(count: int) -> None:
    with FaultRun(f"6 {count} recipients") as scene, scene.load(5.0):
        taken = 0
        with scene.node.client() as client:
            client.ehlo()
            client.mail("app@load.test")
            for number in range(count):
                taken += client.rcpt(f"r{number}@x.test")[0] == 250
            begun = monotonic()
            code, _ = client.data(b"Subject: all\r\n\r\nall\r\n")
        scene.note(f"{taken} taken, {code} after {monotonic() - begun:.1f} s")
        sleep(10)


def heavy(title: str, mails: list[bytes], at_once: int) -> None:
    """Mail that is hard work, with others beside it."""
    with FaultRun(title) as scene:
        codes: list[str] = []
        with scene.load(10.0):
            sleep(2)
            begun = monotonic()
            threads = [
                threading.Thread(target=lambda part=mails[n::at_once]: codes.extend(_sent(scene, part)))
                for n in range(at_once)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            took_s = monotonic() - begun
            sleep(2)
        scene.wait_for_arrivals()
        scene.note(f"{len(codes)} heavy mails, {sorted(set(codes))}, {took_s:.1f} s; peak {_peak(scene)} MB")


def _sent(scene: FaultRun, mails: list[bytes]) -> list[str]:
    return [scene.node.send(mail, "heavy@x.test")[:3] for mail in mails]


def _peak(scene: FaultRun) -> int:
    lines = Path(f"/proc/{scene.roles()[0]}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


_TOP = b"From: a@x.test\r\nSubject: heavy\r\nMIME-Version: 1.0\r\n"
_HTML = _TOP + b"Content-Type: text/html\r\n\r\n"


def _odd() -> list[bytes]:
    headers = _TOP + b"".join(b"X-N%d: x\r\n" % n for n in range(5000)) + b"\r\nx\r\n"
    part = b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n"
    parts = _TOP + b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + part * 10_000 + b"--b--\r\n"
    nested = _TOP + b"".join(
        b'Content-Type: multipart/mixed; boundary="n%d"\r\n\r\n--n%d\r\n' % (n, n) for n in range(2000)
    )
    return [headers] * 5 + [parts] * 3 + [nested + b"\r\nx\r\n"] * 3


def _long() -> list[bytes]:
    link = _HTML + b"".join(b'<a href="https://shop.example/%d">x</a>' % n for n in range(10_000)) + b"\r\n"
    tags = _HTML + b"\r\n".join([b"<b>" * 300] * 2300) + b"\r\n"
    return [link] * 3 + [tags] * 2


def _large() -> list[bytes]:
    line = secrets.token_hex(38).encode() + b"\r\n"
    return [_HTML + line * (23_000_000 // len(line))] * 10


ROWS = {
    "few-descriptors-smtp": lambda: idle("5 ulimit -n 64, 100 idle SMTP", 64, 100, 0, 15),
    "few-descriptors": lambda: idle("5 ulimit -n 64, 100 idle SMTP + 100 idle HTTP, 55 s", 64, 100, 100, 55),
    "idle-http": lambda: idle("5 ulimit -n 1024, 1,100 idle HTTP, 60 s", 1024, 0, 1100, 60),
    "idle-smtp": lambda: idle("5 1,000 idle SMTP", 0, 1000, 0, 15),
    "slow": slow,
    "recipients-1000": lambda: many_recipients(1000),
    "recipients-1100": lambda: many_recipients(1100),
    "large": lambda: heavy("6 23 MB × 10 in parallel", _large(), 10),
    "odd": lambda: heavy("6 5,000 headers × 5; 10,000 parts × 3; 2,000-fold nesting × 3", _odd(), 3),
    "long-lines": lambda: heavy("6 one 400 kB line with 10,000 links × 3; 2 MB of open tags × 2", _long(), 2),
}
