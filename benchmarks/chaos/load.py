"""An open-loop sender: so many mails a second, each on a connection of its own, whatever becomes of the others."""

import asyncio
import secrets
import threading
from collections import Counter
from dataclasses import dataclass, field
from time import monotonic
from types import TracebackType

MAX_WAIT_S = 300.0


@dataclass
class SteadyLoad:
    """Enter it to begin; leave it to wait for what is under way. `give_up_s`: a client's own patience."""

    ports: list[int]
    rate: float
    octets: int = 0
    give_up_s: float = MAX_WAIT_S
    sent: int = 0
    accepted: dict[str, float] = field(default_factory=dict)  # answered 250: when
    refused: Counter[str] = field(default_factory=Counter)  # by code
    replies: dict[str, str] = field(default_factory=dict)  # an example of each
    cut: set[str] = field(default_factory=set)  # whole mails without an answer
    longest_s: float = 0.0

    def __enter__(self) -> "SteadyLoad":
        self._name = secrets.token_hex(4)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopping.set()
        self._thread.join()

    async def _run(self) -> None:
        begun, tasks = monotonic(), set()
        while not self._stopping.is_set():
            if self.sent > (monotonic() - begun) * self.rate:
                await asyncio.sleep(0.005)
                continue
            self.sent += 1
            task = asyncio.create_task(self._send(f"{self._name}-{self.sent}", self.ports[self.sent % len(self.ports)]))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)

    async def _send(self, name: str, port: int) -> None:
        begun = monotonic()
        is_whole = False
        try:
            async with asyncio.timeout(self.give_up_s):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    for line in ("", "EHLO load.test", "MAIL FROM:<app@load.test>", f"RCPT TO:<{name}@x.test>", "DATA"):
                        if line:
                            writer.write(f"{line}\r\n".encode())
                        said = await _reply(reader)
                        if said[:1] not in ("2", "3"):
                            self._refuse(said)
                            return
                    writer.write(_mail(name, self.octets))
                    is_whole = True
                    said = await _reply(reader)
                finally:
                    writer.close()
                if said.startswith("250"):
                    self.accepted[name] = monotonic()
                else:
                    self._refuse(said)
                    if not said:
                        self.cut.add(name)
        except TimeoutError:
            self.refused["gave up"] += 1
            if is_whole:
                self.cut.add(name)
        except OSError as error:
            self.refused[type(error).__name__] += 1
            if is_whole:
                self.cut.add(name)
        finally:
            self.longest_s = max(self.longest_s, monotonic() - begun)

    def _refuse(self, text: str) -> None:
        self.refused[text[:3] or "closed"] += 1
        self.replies.setdefault(text[:3] or "closed", text)


async def _reply(reader: asyncio.StreamReader) -> str:
    """Its last line; nothing where the connection ended."""
    while line := await reader.readline():
        if line[3:4] != b"-":
            return line.decode("latin-1").strip()
    return ""


def _mail(name: str, octets: int) -> bytes:
    more = "a line of plain text, and nothing more than that to it\r\n" * (octets // 56)
    return (
        f"From: app@load.test\r\nTo: {name}@x.test\r\nSubject: {name}\r\nMessage-ID: <{name}@load.test>\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n"
        f'<p>Hello, <a href="https://example.com/">you</a>.</p>\r\n{more}.\r\n'
    ).encode()
