"""The checks of `waypost check --online`, run from the console.

In: an admin's session.  Out: a page with what was found so far, and what to do about it. The checks are a process of
their own, because they wait for other servers and links must be answered meanwhile: one at a time, for MAX_SECONDS at
most.
"""

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from relay import log
from relay.config import variables
from relay.config.schema import Config
from relay.store.console.audit_log import AuditedChange
from relay.store.store import Store
from web import audited
from web.console import sign_in

MAX_SECONDS = 180.0
MAX_FINDINGS = 300
_MAX_MESSAGES = 5  # lines that are no findings: why the checks could not run
_MAX_LINE = 1 << 14  # octets
# -P: nothing is loaded from the folder where the server was started; others may write there.
_COMMAND = ("-P", "-m", "relay", "check", "--online", "--json")
_LEVELS = ("fail", "note", "dns", "ok")


class CheckFinding(NamedTuple):
    """`level`: ok, note, dns or fail."""

    level: str
    subject: str
    detail: str
    remedy: str


@dataclass(slots=True)
class CheckRun:
    """The checks of one time. `fault` says why they ended before their end."""

    by: str
    started_at: datetime
    findings: list[CheckFinding] = field(default_factory=list)
    ended_at: datetime | None = None
    fault: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """How many findings have each level, the worst first."""
        return {level: sum(one.level == level for one in self.findings) for level in _LEVELS}

    @property
    def shown_findings(self) -> list[CheckFinding]:
        """In the order in which they were found; the worst first, once all are."""
        if self.ended_at is None:
            return self.findings
        ranks = {level: n for n, level in enumerate(_LEVELS)}
        return sorted(self.findings, key=lambda one: ranks.get(one.level, 0))


class CheckPages:
    """The routes under `/settings/checks`."""

    def __init__(self, config: Config, store: Store, page: Callable[..., Response]) -> None:
        self._file = config.file
        self._store = store
        self._render_page = page
        self._latest: CheckRun | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_starting = False

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/settings/checks", self.show_checks),
            Route("/settings/checks", self.start_checks, methods=["POST"]),
        ]

    async def show_checks(self, request: Request) -> Response:
        is_running = self._is_running
        return self._render_page(request, "checks.html", "settings", run=self._latest, is_running=is_running)

    async def start_checks(self, request: Request) -> Response:
        await sign_in.read_checked_form(request)
        if self._is_running:
            request.session["notice"] = "The checks are running already."
            return RedirectResponse("/settings/checks", 303)
        self._is_starting = True
        try:
            await audited.write(self._store, request, AuditedChange("check.run"), lambda _: 1)
            self._latest = run = CheckRun(request.state.account, datetime.now(UTC))
            self._task = asyncio.create_task(self._carry_out(run), context=Context())
        finally:
            self._is_starting = False
        return RedirectResponse("/settings/checks", 303)

    @property
    def _is_running(self) -> bool:
        return self._is_starting or (self._task is not None and not self._task.done())

    async def _carry_out(self, run: CheckRun) -> None:
        process = None
        try:
            async with asyncio.timeout(MAX_SECONDS):
                process = await self._start_process()
                run.fault = await _read_findings(process, run.findings)
        except TimeoutError:
            run.fault = f"Not finished after {MAX_SECONDS:.0f} s, and ended. The last finding says how far they came."
        except (OSError, ValueError) as error:
            run.fault = f"They could not be run: {error}"
        except Exception:  # noqa: BLE001  the outermost loop of a task: the page says that there was a fault
            log.fault("checks", "")
            run.fault = "They could not be run, for a fault of Waypost: the log has it."
        finally:
            if process is not None:
                await _end(process)
            run.ended_at = datetime.now(UTC)

    async def _start_process(self) -> Process:
        environment = dict(os.environ) | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        if self._file:
            environment[variables.NOT_A_KEY] = str(self._file)
        return await asyncio.create_subprocess_exec(
            sys.executable, *_COMMAND, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, env=environment, limit=_MAX_LINE
        )


async def _read_findings(process: Process, findings: list[CheckFinding]) -> str:
    """Adds what the process finds. Returns why it ended early; empty if it did not. Raises ValueError for a line that
    is too long."""
    output = process.stdout
    assert output is not None
    messages: list[str] = []
    while line := await output.readline():
        if len(findings) >= MAX_FINDINGS:
            return f"There are more than {MAX_FINDINGS} findings."
        if finding := _parse_finding(line):
            findings.append(finding)
        elif len(messages) < _MAX_MESSAGES:
            messages.append(line.decode("utf-8", "replace").strip())
    return "\n".join(messages) if await process.wait() not in (0, 1) or not findings else ""


def _parse_finding(line: bytes) -> CheckFinding | None:
    try:
        found = json.loads(line)
        return CheckFinding(*(str(found[name]) for name in ("level", "what", "detail", "remedy")))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


async def _end(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
    process._transport.close()  # type: ignore[attr-defined]  # closes its pipes; there is no public way
