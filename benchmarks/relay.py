"""How much mail goes through, against two peers in the same run.

Sends the same mails with the same client, over ten connections, to a sink: directly; through a bare relay of
aiosmtpd and aiosmtplib that rewrites nothing and writes nothing down; and through Waypost, which does both,
inline, every fact on disk before its 250. Prints mails per second and the ratios. Loopback only.

    make bench
"""

import asyncio
import contextlib
import multiprocessing
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).parents[1]))

import aiosmtplib
from aiosmtpd.controller import Controller

from tests.waypost_server import Waypost, free_port

SESSIONS, MAILS, ROUNDS = 10, 400, 3
HEADER = (
    b"From: a@sender.test\r\nTo: you@example.com\r\nSubject: bench\r\nDate: Thu, 12 Nov 2026 09:01:00 +0000\r\n"
    b"Message-ID: <bench@sender.test>\r\nMIME-Version: 1.0\r\n"
)
PLAIN = HEADER + b"Content-Type: text/plain\r\n\r\n" + b"a line of plain text, and nothing more\r\n" * 45
PARAGRAPH = (
    b'<p style="margin:0 0 12px;color:#114">A paragraph of a newsletter, with <b>some</b> markup and quite a bit of '
    b"text, as they are written, to be as long as real ones are on the average.</p>\r\n"
)
LINK = b'<p><a href="https://shop.example/item/%d?utm_source=mail&amp;utm_medium=email">item</a></p>\r\n'
HTML = (
    HEADER
    + b"Content-Type: text/html; charset=utf-8\r\n\r\n<html><body>\r\n"
    + b"".join(PARAGRAPH * 9 + LINK % n for n in range(15))
    + b"</body></html>\r\n"
)


class Sink:
    """Takes everything."""

    async def handle_DATA(self, server: object, session: object, envelope: object) -> str:
        return "250 2.0.0 ok"


class Bare:
    """A relay that only forwards, over one connection for each of its clients."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def handle_DATA(self, server: object, session: object, envelope: object) -> str:
        client = getattr(session, "upstream", None)
        if client is None:
            client = aiosmtplib.SMTP(hostname="127.0.0.1", port=self.port, start_tls=False, local_hostname="bare")
            await client.connect()
            session.upstream = client  # type: ignore[attr-defined]
        await client.sendmail(envelope.mail_from, envelope.rcpt_tos, envelope.content)  # type: ignore[attr-defined]
        return "250 2.0.0 ok"


def _serve(handler: object, port: int, ready: object) -> None:
    controller = Controller(handler, hostname="127.0.0.1", port=port, data_size_limit=None)
    controller.start()
    ready.set()  # type: ignore[attr-defined]
    controller._thread.join()  # type: ignore[union-attr]


@contextlib.contextmanager
def server(handler: object, port: int) -> Iterator[int]:
    """An aiosmtpd server in a process of its own."""
    ready = multiprocessing.Event()
    process = multiprocessing.Process(target=_serve, args=(handler, port, ready), daemon=True)
    process.start()
    ready.wait(10)
    yield port
    process.terminate()
    process.join()


async def _session(port: int, octets: bytes, mails: int) -> None:
    client = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False, local_hostname="bench")
    await client.connect()
    for _ in range(mails):
        await client.sendmail("a@sender.test", ["you@example.com"], octets)
    await client.quit()


async def _load(port: int, octets: bytes) -> float:
    started = perf_counter()
    await asyncio.gather(*(_session(port, octets, MAILS // SESSIONS) for _ in range(SESSIONS)))
    return MAILS / (perf_counter() - started)


def main() -> None:
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        sink = stack.enter_context(server(Sink(), free_port()))
        bare = stack.enter_context(server(Bare(sink), free_port()))
        waypost = stack.enter_context(Waypost(Path(folder), sink))
        ports = {"sink": sink, "bare relay": bare, "waypost": waypost.port}
        for name, octets in (("plain, 2 KB", PLAIN), ("HTML, 30 KB, 15 links", HTML)):
            rates: dict[str, list[float]] = {peer: [] for peer in ports}
            for _ in range(ROUNDS):
                for peer, port in ports.items():
                    rates[peer].append(asyncio.run(_load(port, octets)))
            typical = {peer: statistics.median(found) for peer, found in rates.items()}
            print(f"{name} ({len(octets)} octets), median of {ROUNDS} rounds of {MAILS} mails:")
            for peer, rate in typical.items():
                print(f"  {peer:<12}{rate:8.0f} mails/s   {rate / typical['bare relay']:5.2f} × the bare relay")


if __name__ == "__main__":
    main()
