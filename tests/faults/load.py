"""A sender that goes on whatever happens, and notes the reply to each mail."""

import re
import secrets
import smtplib
import threading
from collections import Counter
from time import sleep
from types import TracebackType

from tests.upstream import ScriptedUpstream
from tests.waiting import until

_ID = re.compile(rb"^Message-ID: <([^>]+)>", re.MULTILINE | re.IGNORECASE)


class Load:
    """Threads that send one mail after the other. Enter it to begin; leave it to end."""

    def __init__(self, port: int, threads: int = 4, pause_s: float = 0.0) -> None:
        self.accepted: set[str] = set()  # answered 250
        self.refused: Counter[int] = Counter()  # by code
        self.put_off: set[str] = set()  # refused at the dot: their apps send them again
        self.unsure: set[str] = set()  # cut off after the dot
        self._port, self._pause_s = port, pause_s
        self._stopping = threading.Event()
        self._name = secrets.token_hex(4)
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(threads)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, count: int) -> None:
        """Until so many more are accepted."""
        enough = len(self.accepted) + count
        until(lambda: len(self.accepted), fits=lambda accepted: accepted >= enough)

    def _run(self, number: int) -> None:
        count = 0
        client: smtplib.SMTP | None = None
        while not self._stopping.is_set():
            count += 1
            name = f"{self._name}.{number}.{count}@load.test"
            is_sent = False
            try:
                client = client or smtplib.SMTP("127.0.0.1", self._port, local_hostname="load.test", timeout=90)
                client.ehlo_or_helo_if_needed()
                for command in ("MAIL FROM:<app@load.test>", "RCPT TO:<you@example.com>"):
                    code, _ = client.docmd(command)
                    if code >= 400:
                        raise smtplib.SMTPResponseException(code, b"")
                code, _ = client.docmd("DATA")
                if code != 354:
                    raise smtplib.SMTPResponseException(code, b"")
                client.send(_mail(name))
                is_sent = True
                code, _ = client.getreply()
                if code == 250:
                    self.accepted.add(name)
                else:
                    self.refused[code] += 1
                    self.put_off.add(name)
            except smtplib.SMTPResponseException as refusal:
                self.refused[refusal.smtp_code] += 1
                _close(client)
                client = None
                sleep(0.05)
            except (OSError, smtplib.SMTPException):
                if is_sent:
                    self.unsure.add(name)
                _close(client)
                client = None
                sleep(0.05)
            sleep(self._pause_s)
        _close(client)


def _mail(name: str) -> bytes:
    return (
        f"From: app@load.test\r\nTo: you@example.com\r\nSubject: {name}\r\nMessage-ID: <{name}>\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n"
        '<p>Hello, <a href="https://example.com/">you</a>.</p>\r\n.\r\n'
    ).encode()


def _close(client: smtplib.SMTP | None) -> None:
    if client is not None:
        client.close()


def arrived(sink: ScriptedUpstream) -> Counter[str]:
    """How often each Message-ID has arrived there."""
    return Counter(found[1].decode() for arrival in sink.arrivals if (found := _ID.search(arrival.octets)))


def doubles(sink: ScriptedUpstream) -> int:
    """How many arrivals were one too many."""
    return sum(count - 1 for count in arrived(sink).values())
