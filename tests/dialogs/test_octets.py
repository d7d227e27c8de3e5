"""What no script can say: cuts at random places, large mail, crowds, certificates that change, faults of our own."""

import asyncio
import contextlib
import random
import resource
import select
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from time import monotonic, perf_counter, sleep

import pytest

from relay.config.schema import Config
from relay.edge.server import Edge
from relay.envelope import AcceptedMessage
from relay.reply import Reply
from tests.certificates import make_certificate
from tests.dialogs.guarded import Guarded
from tests.smtp_client import connected, envelope
from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost

MB = 1 << 20
FALSE_ENDS = [
    b"\n.\n",
    b"\r.\r",
    b"\r\n.\n",
    b"\n.\r\n",
    b"\r\n.\r",
    b"\r.\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n..\r\n",
    b"\r\n .\r\n",
]
EVIL = b"MAIL FROM:<evil@x.example>\r\nRCPT TO:<smuggled@example.com>\r\nDATA\r\nSubject: evil\r\n\r\nx\r\n.\r\n"

# Says NOOP until it is told to stop; prints how often, and the longest wait in milliseconds.
PROBE = """
import select, socket, sys, time
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
replies = client.makefile("rb")
replies.readline()
print("ready", flush=True)
waits = []
while not select.select([sys.stdin], [], [], 0.002)[0]:
    started = time.perf_counter()
    client.sendall(b"NOOP\\r\\n")
    replies.readline()
    waits.append(time.perf_counter() - started)
print(len(waits), max(waits) * 1000)
"""


@pytest.mark.parametrize("false_end", FALSE_ENDS)
def test_no_mail_is_smuggled_however_tcp_cuts_it(relay: Waypost, upstream: ScriptedUpstream, false_end: bytes) -> None:
    # The message, a false end, a transaction that shall not be one; then the true end and a command.
    text = b"Subject: one\r\n\r\none" + false_end + EVIL.replace(b"\r\n.\r\n", false_end) + b"two\r\n.\r\nNOOP\r\n"
    for seed in range(12):
        chance = random.Random(f"{false_end!r}{seed}")
        cuts = sorted(chance.sample(range(1, len(text)), k=chance.choice((0, 1, 3, 12))))
        recipient = f"victim{FALSE_ENDS.index(false_end)}-{seed}@example.com"
        with connected(relay.port) as (client, replies):
            assert replies.next() == "220 localhost ESMTP Waypost"
            client.sendall(envelope(recipient))
            assert replies.next(4).startswith("354")
            for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
                client.sendall(text[start:end])
                sleep(chance.choice((0, 0.001)))
            is_refused = b"\r" in false_end.replace(b"\r\n", b"") or b"\0" in false_end
            assert replies.next().startswith("550 5.6.0" if is_refused else "250 2.0.0"), (seed, cuts)
            assert replies.next().startswith("250 2.0.0"), (seed, cuts)
        if not is_refused:
            assert upstream.to(recipient)[0].octets.endswith(b"\r\ntwo\r\n")
    assert not [one for one in upstream.arrivals if "smuggled@example.com" in one.recipients]


def test_replies_to_pipelined_commands_come_in_one_piece(relay: Waypost) -> None:
    with connected(relay.port) as (client, replies):
        replies.next()
        client.sendall(b"EHLO app.test\r\n")
        replies.next()
        rcpts = b"".join(b"RCPT TO:<grouped%d@example.com>\r\n" % n for n in range(50))
        client.sendall(b"RSET\r\nMAIL FROM:<app@sender.test>\r\n" + rcpts + b"DATA\r\n")
        assert client.recv(65536).count(b"\r\n") == 53  # RFC 2920 §3.2: one write


def test_25_megabytes_do_not_keep_others_waiting(
    relay: Waypost, upstream: ScriptedUpstream, capsys: pytest.CaptureFixture[str]
) -> None:
    line = b"." + b"0123456789abcdef" * 4 + b"\r\n"
    octets = b"Subject: large\r\n\r\n" + line * ((24 * MB) // len(line))
    for attempt in range(5):  # what else the machine does makes us wait now and then, our own work every time
        begun = monotonic()
        counted, longest_ms = _waits_beside(relay, octets, f"stall{attempt}@example.com")
        took_ms = 1000 * (monotonic() - begun)
        with capsys.disabled():
            print(f"\n  25 MB in {took_ms:.0f} ms: another client waits {longest_ms:.0f} ms of {counted:.0f} commands")
        assert upstream.to(f"stall{attempt}@example.com")[0].octets.endswith(octets)
        if longest_ms < took_ms / 8:
            break
    assert longest_ms < took_ms / 8


def _waits_beside(relay: Waypost, octets: bytes, recipient: str) -> tuple[float, float]:
    """How many commands another client sent meanwhile, and its longest wait in milliseconds."""
    # Beside us: this process is busy with both ends of the large mail, and would count its own waits.
    probe = subprocess.Popen(
        [sys.executable, "-c", PROBE, str(relay.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert probe.stdout is not None and probe.stdout.readline() == "ready\n"
    assert relay.send(octets, recipient).startswith("250")
    counted, longest_ms = map(float, probe.communicate("stop")[0].split())
    return counted, longest_ms


def test_octets_in_flight_are_bounded(guarded: Guarded) -> None:
    with contextlib.ExitStack() as open_:
        clients = [open_.enter_context(connected(guarded.ports["proxied"])) for _ in range(2)]
        for n, (client, replies) in enumerate(clients):
            client.sendall(b"PROXY TCP4 192.0.2.%d 192.0.2.1 4711 25\r\n" % (n + 10))
            replies.next()
            client.sendall(envelope(f"flight{n}@example.com"))
            assert replies.next(4).startswith("354")
            client.sendall(b"Subject: x\r\n\r\n" + b"0123456789abcde\r\n" * 3000)
        # Neither is over the limit of one message; both together are over that of all.
        for client, _ in clients:
            client.sendall(b".\r\n")
        said = sorted(replies.next()[:9] for _, replies in clients)
        assert said == ["250 2.0.0", "452 4.3.1"]
        client, replies = clients[0]
        client.sendall(envelope("flight3@example.com") + b"Subject: x\r\n\r\nx\r\n.\r\n")
        assert replies.next(5).startswith("250 2.0.0")  # there is room again


def test_2000_idle_clients_take_little_and_hold_up_nobody(
    relay: Waypost, upstream: ScriptedUpstream, capsys: pytest.CaptureFixture[str]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4000:
        pytest.skip("the system allows no 4,000 open files: ulimit -Hn 4096")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4000), hard))
    before = _resident_kb(relay)
    with contextlib.ExitStack() as open_:
        idle = [open_.enter_context(connected(relay.port, f"127.0.1.{n // 80}")) for n in range(2000)]
        for _, replies in idle:
            assert replies.next().startswith("220")
        each_kb = (_resident_kb(relay) - before) / len(idle)
        started = perf_counter()
        relay.send(b"Subject: x\r\n\r\nx\r\n", "crowd@example.com")
        took_ms = (perf_counter() - started) * 1000
        for client, replies in idle[::200]:
            client.sendall(b"NOOP\r\n")
            assert replies.next().startswith("250")
    with capsys.disabled():
        print(f"\n  2,000 idle clients: {each_kb:.0f} KB each; a mail beside them {took_ms:.0f} ms")
    assert each_kb < 64
    upstream.to("crowd@example.com")


def test_a_client_that_never_reads_does_not_hold_its_connection_for_ever(guarded: Guarded) -> None:
    with connected(guarded.ports["starttls"]) as (client, _):
        client.settimeout(60)
        with pytest.raises(ConnectionError):  # not a timeout: the server has hung up
            while True:
                client.sendall(b"HELP\r\n" * 1000)


def test_who_only_begins_a_handshake_counts_as_a_connection(guarded: Guarded) -> None:
    with contextlib.ExitStack() as open_:
        clients = [open_.enter_context(connected(guarded.ports["implicit"], "127.0.2.1"))[0] for _ in range(101)]
        clients[100].settimeout(3)  # the others are idle for longer
        assert clients[100].recv(100) == b""  # not a word in clear
        clients[0].setblocking(False)
        with pytest.raises(BlockingIOError):
            clients[0].recv(100)


def test_passwords_are_checked_while_others_are_served(guarded: Guarded) -> None:
    with contextlib.ExitStack() as open_:
        *crowd, (other, replies) = [open_.enter_context(connected(guarded.ports["stranger"])) for _ in range(17)]
        for client, greeted in [*crowd, (other, replies)]:
            client.sendall(b"EHLO app.test\r\n")
            assert greeted.next(2).startswith("250 ")
        for client, _ in crowd:
            client.sendall(b"AUTH PLAIN AHNob3AAY29ycmVjdCBob3JzZQ==\r\n")
        other.sendall(b"NOOP\r\n")
        assert replies.next().startswith("250 ")
        answered, _, _ = select.select([client for client, _ in crowd], [], [], 0)
        assert len(answered) < 16
        assert all(waiting.next().startswith("235 ") for _, waiting in crowd)


def _resident_kb(relay: Waypost) -> int:
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in relay.children()]
    return sum(int(text.partition("VmRSS:")[2].split()[0]) for text in texts)


def test_a_renewed_certificate_is_used_without_a_restart(guarded: Guarded, tmp_path: Path) -> None:
    def serial(listener: str) -> bytes:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with connected(guarded.ports[listener]) as (client, replies):
            if listener == "starttls":
                client.sendall(b"EHLO app.test\r\nSTARTTLS\r\n")
                assert replies.next(3).startswith("220")
            with context.wrap_socket(client) as wrapped:
                return wrapped.getpeercert(binary_form=True) or b""

    folder, process = guarded.relay.folder, guarded.relay.process
    first = serial("implicit")
    (folder / "key.pem").write_text("half of a renewal")
    assert serial("starttls") == first
    make_certificate(tmp_path)
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).replace(folder / name)
    second = serial("starttls")
    assert second != first and serial("implicit") == second
    assert "certificate-unusable" in guarded.relay.read_log()
    assert process is not None
    renewals = guarded.relay.read_log().count("certificate-renewed")
    process.send_signal(signal.SIGHUP)
    guarded.relay.wait_for_log("certificate-renewed", count=renewals + 1)
    assert serial("implicit") == second


def test_a_connection_that_turns_to_gibberish_is_the_clients_end_and_no_fault(guarded: Guarded) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for before in (b"EHLO app.test\r\n", b"EHLO app.test\r\nAUTH LOGIN\r\n"):
        with connected(guarded.ports["implicit"]) as (client, _), context.wrap_socket(client) as wrapped:
            wrapped.sendall(before)
            wrapped.recv(100)
            with socket.socket(fileno=wrapped.detach()) as bare:
                bare.settimeout(60)
                bare.sendall(b"this is not a TLS record\r\n" * 10)
                with contextlib.suppress(ConnectionResetError):
                    while bare.recv(65536):
                        pass
    log = guarded.relay.read_log()
    assert "fault" not in log and "Traceback" not in log and "never retrieved" not in log


def test_a_fault_of_ours_is_temporary_and_has_a_number() -> None:
    async def take(accepted: AcceptedMessage) -> Reply:
        raise ZeroDivisionError("a secret of the house")

    async def admit(*_: object) -> None:
        return None

    async def converse() -> tuple[str, str]:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        edge = Edge(Config(), take, admit)
        edge.start([listener])
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(envelope("fault@example.com") + b"Subject: x\r\n\r\nx\r\n.\r\nMAIL FROM:<a@b.example>\r\n")
        # The greeting, eight lines of EHLO, MAIL, RCPT, DATA; then what is asked about.
        lines = [(await reader.readline()).decode().rstrip("\r\n") for _ in range(13)]
        writer.close()
        await edge.drain(5)
        return lines[-2], lines[-1]

    fault, after = asyncio.run(converse())
    assert fault.startswith("451 4.3.0 internal fault ") and "secret" not in fault
    assert after.startswith("250 2.1.0")
