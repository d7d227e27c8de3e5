"""A recipient's server that follows a script: the one thing that the tests imitate.

The local part of an address says what is answered, and anything after a `+` is free:
`e550-5.1.1@…` that reply to RCPT, `d554-5.6.0@…` that reply to the dot, `e451-4.3.0-n2@…` only the first
two times, `x421@…` 421 and a closed connection, `hang@…` no answer. MAIL FROM:<e…> answers MAIL.
`garbage@…` is answered what is no reply, `endless@…` a reply without end, `early@…` a refusal before the
octets, `close@…` hangs up there, `cut@…` after the dot; those too take `-n2`.
What arrives is kept octet for octet, dot-unstuffed.
"""

import asyncio
import base64
import re
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.waiting import MAX_WAIT_S, until
from tests.waypost_server import free_port

EXTENSIONS = ("PIPELINING", "SIZE 100000000", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")


@dataclass
class Arrival:
    """A mail as it came in."""

    mail: str  # the whole MAIL line
    rcpts: list[str]
    octets: bytes
    connection: int
    user: str = ""  # who was logged in
    ahead: int = 0  # octets that had come when MAIL was still to be answered

    @property
    def recipients(self) -> list[str]:
        return [line.partition("<")[2].partition(">")[0] for line in self.rcpts]


@dataclass
class ScriptedUpstream:
    """The server, in a thread of its own."""

    extensions: tuple[str, ...] = EXTENSIONS
    arrivals: list[Arrival] = field(default_factory=list)
    turned_away: list[Arrival] = field(default_factory=list)  # at the dot
    connections: int = 0
    delay_s: float = 0.0  # before the reply to the dot
    is_holding: bool = False  # while it is, no dot is answered
    quotes: bool = False  # scripted replies quote the address, as many servers do
    text: bytes = b""  # of that reply, if it is to be an odd one
    passwords: dict[str, str] = field(default_factory=dict)  # by user; with some, AUTH is offered
    mechanisms: str = "PLAIN LOGIN"
    greeting: str = "220 upstream.test ESMTP"
    greeting_after_s: float = 0.0
    at_helo: str = ""  # said to EHLO and HELO, if it is to be a refusal
    greeted_by: list[str] = field(default_factory=list)  # what clients called themselves
    is_lax: bool = False  # takes RCPT without a sender, and DATA without a recipient
    tls: ssl.SSLContext | None = None  # from the first octet
    starttls: ssl.SSLContext | None = None
    close_at_mail: bool = False  # once
    most_at_once: int = 0  # connections
    verbs: Counter[str] = field(default_factory=Counter)  # what was heard; `.` is a mail's end
    port: int = 0

    def __post_init__(self) -> None:
        self._seen: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = free_port()
        self.start()

    def start(self) -> None:
        """Listens, on the same port as before."""
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(60)

    def stop(self) -> None:
        """Hangs up on everybody and listens no more."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(60)

    def __enter__(self) -> "ScriptedUpstream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def wait_for(
        self, is_wanted: Callable[[Arrival], bool], count: int = 1, timeout_s: float = MAX_WAIT_S
    ) -> list[Arrival]:
        """The arrivals that fit, as soon as there are that many."""
        return until(
            lambda: [arrival for arrival in self.arrivals if is_wanted(arrival)],
            lambda: f"of {count} mails, these arrived: {[(one.mail, one.rcpts) for one in self.arrivals]}",
            fits=lambda found: len(found) >= count,
            timeout_s=timeout_s,
        )

    def to(self, recipient: str, count: int = 1, timeout_s: float = MAX_WAIT_S) -> list[Arrival]:
        return self.wait_for(lambda arrival: recipient in arrival.recipients, count, timeout_s)

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=1 << 26, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._server:
            self._server.close()
            self._server = None
        await asyncio.sleep(0.01)  # connections that have just been made take their first step
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # and those that end close their sockets

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.most_at_once = max(self.most_at_once, len(self._tasks))
        try:
            await self._converse(reader, writer, self.connections)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()  # nothing waits for what the other side has not read
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        def say(line: str) -> None:
            writer.write(line.encode() + b"\r\n")

        await asyncio.sleep(self.greeting_after_s)
        say(self.greeting)
        mail, at_dot, user, ahead, odd = "", "", "", 0, ""
        rcpts: list[str] = []
        while line := (await reader.readuntil(b"\n")).decode("utf-8").rstrip("\r\n"):
            verb = line[:4].upper()
            self.verbs[verb] += 1
            played = self._script(line, "e")
            if verb in ("EHLO", "HELO"):
                self.greeted_by.append(line[5:])
            if verb in ("EHLO", "HELO") and self.at_helo:
                say(self.at_helo)
            elif verb == "EHLO":
                auth = [f"AUTH {self.mechanisms}"] if self.passwords else []
                lines = ["upstream.test", *self.extensions, *auth, *(["STARTTLS"] if self.starttls else [])]
                for n, text in enumerate(lines):
                    say(f"250{' ' if n == len(lines) - 1 else '-'}{text}")
            elif verb == "STAR" and self.starttls:
                say("220 2.0.0 go ahead")
                await writer.start_tls(self.starttls)
            elif verb == "AUTH":
                user = self._log_in(line)
                say("235 2.7.0 welcome" if user else "535 5.7.8 bad credentials")
            elif verb == "HELO":
                say("250 upstream.test")
            elif verb == "MAIL" and self.close_at_mail:
                self.close_at_mail = False
                return
            elif verb == "MAIL":
                mail, rcpts, at_dot, odd = "" if played else line, [], "", ""
                ahead = len(reader._buffer)  # type: ignore[attr-defined]  # nothing public says so
                say(played or "250 2.1.0 ok")
            elif verb == "RCPT" and not mail and not self.is_lax:
                say("503 5.5.1 no sender")
            elif verb == "RCPT" and "<hang@" in line:
                await asyncio.sleep(3600)
            elif verb == "RCPT" and "<x421" in line:
                say("421 4.3.2 closing")
                return
            elif verb == "RCPT":
                at_dot = at_dot or self._script(line, "d")
                odd = odd or self._oddity(line)
                if odd == "close":
                    return
                if odd in ("garbage", "endless"):
                    writer.write(b"Hello there!\r\n" if odd == "garbage" else b"250-more\r\n" * 9000)
                    continue
                if not played:
                    rcpts.append(line)
                say(played or "250 2.1.5 ok")
            elif verb == "DATA":
                say("354 go ahead" if rcpts or self.is_lax else "554 5.5.1 no recipients")
                if odd == "early":
                    say("552 5.3.4 too much, whatever it is")
                    return
                if rcpts or self.is_lax:
                    octets = bytearray(b"\r\n")
                    while not octets.endswith(b"\r\n.\r\n"):
                        octets += await reader.readuntil(b"\r\n")
                    delay_s = self.delay_s
                    self.verbs["."] += 1
                    await asyncio.sleep(delay_s)
                    while self.is_holding:
                        await asyncio.sleep(0.02)
                    body = bytes(octets[:-3]).replace(b"\r\n.", b"\r\n")[2:]
                    arrival = Arrival(mail, rcpts, body, number, user, ahead)
                    (self.turned_away if at_dot or not rcpts else self.arrivals).append(arrival)
                    if odd == "cut":
                        return
                    if self.text:
                        writer.write(b"250 2.0.0 " + self.text + b"\r\n")
                    else:
                        say(at_dot or f"250 2.0.0 Ok: queued as U{len(self.arrivals)}")
            elif verb == "QUIT":
                say("221 2.0.0 bye")
                return
            else:
                say("250 2.0.0 ok")
            await writer.drain()

    def _log_in(self, line: str) -> str:
        """The user, if the password is right. XOAUTH2's is the token."""
        _, mechanism, response = line.split(" ")
        text = base64.b64decode(response).decode()
        if mechanism == "XOAUTH2":
            name, password = text.removeprefix("user=").removesuffix("\1\1").split("\1auth=Bearer ")
        else:
            name, _, password = text[1:].partition("\0")
        return name if self.passwords.get(name) == password else ""

    def _oddity(self, line: str) -> str:
        found = re.search(r"<(garbage|endless|early|close|cut)(?:-n(\d+))?[+@]", line)
        if not found:
            return ""
        self._seen[line] += 1
        return "" if found[2] and self._seen[line] > int(found[2]) else found[1]

    def _script(self, line: str, code_prefix: str) -> str:
        found = re.search(rf"<{code_prefix}(\d\d\d)(?:-(\d\.\d+\.\d+))?(?:-n(\d+))?[^>]*>", line)
        if not found:
            return ""
        self._seen[line] += 1
        if found[3] and self._seen[line] > int(found[3]):
            return ""
        said = f"{line.partition(':')[2]} scripted" if self.quotes else "scripted"
        return f"{found[1]} {found[2] + ' ' if found[2] else ''}{said}"
