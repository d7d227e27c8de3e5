"""Have mail of strangers read in a process that can be killed.

In: the octets of a mail to the return path.  Out: a Reading, from a process of its own (`report_process`), of which
there are at most two, started when there is something to read and ended when there has long been nothing.
"""

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process

from relay import log
from relay.bounce import lenient_mime
from relay.delivery import report_process
from relay.delivery.report_process import READING, Reading

MAX_PROCESSES = 2
MAX_WAITING = 20  # mails; the next one gets a temporary refusal at once
DEADLINE_S = 10.0  # from the first octet given to it, on a busy machine
_IDLE_S = 300.0
_MAX_ANSWER = 16 << 20  # octets


class UnreadableReportError(Exception):
    """The mail was not read: it took too much, too many wait, or there was an error of ours."""


class BusyReaderError(UnreadableReportError):
    """Too many mails wait, so that this one was not tried."""


class ReportReader:
    """The processes that read. Closed by `close`."""

    def __init__(self, domain: str, public_url: str, *, deadline_s: float = DEADLINE_S) -> None:
        self._arguments = ["-m", report_process.__name__, domain, public_url]
        self.deadline_s = deadline_s
        self._places = asyncio.Semaphore(MAX_PROCESSES)
        self._waiting = 0
        self._idle: list[Process] = []
        self._retiring: asyncio.TimerHandle | None = None

    async def read(self, octets: bytes) -> Reading:
        """What the mail reports. Raises UnreadableReportError."""
        if self._waiting >= MAX_WAITING:
            raise BusyReaderError("too many reports wait to be read")
        self._waiting += 1
        try:
            async with self._places:
                # Reports put what matters first, and the returned mail last.
                reading = await self._ask(octets[: lenient_mime.MAX_OCTETS])
        finally:
            self._waiting -= 1
        if reading.fault:
            log.fault_trace("report", "", reading.fault)
            raise UnreadableReportError("an error of ours")
        return reading

    async def close(self) -> None:
        """Ends the processes."""
        if self._retiring:
            self._retiring.cancel()
        idle, self._idle = self._idle, []
        for process in idle:
            await _end(process)

    async def _ask(self, octets: bytes) -> Reading:
        process = self._idle.pop() if self._idle else None
        try:
            if process is None or process.returncode is not None:
                process = await self._start()
            async with asyncio.timeout(self.deadline_s):
                answer = await _exchange(process, octets)
            reading = READING.validate_json(answer)
        except BaseException as error:
            if process is not None:
                await _end(process)
            if isinstance(error, TimeoutError | EOFError | OSError | ValueError):
                status = process.returncode if process else None
                log.report_abandoned(len(octets), type(error).__name__, status)
                raise UnreadableReportError("it takes too much to read") from error
            raise
        self._idle.append(process)
        self._retire_later()
        return reading

    async def _start(self) -> Process:
        # The environment may hold secrets. The process needs the module path only.
        environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONUTF8": "1"}
        return await asyncio.create_subprocess_exec(
            sys.executable, *self._arguments, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=environment
        )

    def _retire_later(self) -> None:
        if self._retiring:
            self._retiring.cancel()
        loop = asyncio.get_running_loop()
        self._retiring = loop.call_later(_IDLE_S, lambda: asyncio.ensure_future(self.close()))


async def _exchange(process: Process, octets: bytes) -> bytes:
    """The answer's octets. Raises EOFError if the process ends meanwhile."""
    to, answer = process.stdin, process.stdout
    assert to is not None and answer is not None
    to.write(report_process.make_frame(octets))
    try:
        await to.drain()
        length = report_process.frame_length(await answer.readexactly(4))
        if length > _MAX_ANSWER:
            raise ValueError("the answer is too long")
        return await answer.readexactly(length)
    except ConnectionError as error:
        raise EOFError from error


async def _end(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
    process._transport.close()  # type: ignore[attr-defined]  # closes its pipes; there is no public way
