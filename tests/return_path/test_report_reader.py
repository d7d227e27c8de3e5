"""Strangers' reports are read in a process of their own: what ends that process ends nothing else."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from relay.delivery import report_process
from relay.delivery.report_reader import MAX_WAITING, ReportReader, UnreadableReportError
from tests.return_path.return_path_scene import DEAD, DOMAIN, ReturnPathScene, dsn, reverse_path
from tests.waiting import MAX_WAIT_S

SITE = "http://127.0.0.1:1"


def readers(parent: int) -> list[int]:
    """The processes below `parent` that read reports."""
    found = []
    for task in Path(f"/proc/{parent}/task").iterdir():
        for child in (task / "children").read_text().split():
            if report_process.__name__.encode() in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
    return found


@pytest.fixture
def stopped() -> Iterator[list[int]]:
    """Processes to be continued at the end, so that none is left behind."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.kill(pid, signal.SIGCONT)


def test_a_report_that_takes_too_long_is_given_up_and_the_next_one_is_read(stopped: list[int]) -> None:
    async def run() -> None:
        reader = ReportReader(DOMAIN, SITE, deadline_s=MAX_WAIT_S)
        assert (await reader.read(dsn("x@example.com", "5.1.1", DEAD))).report.kind == "dsn"
        [pid] = readers(os.getpid())
        os.kill(pid, signal.SIGSTOP)  # like a reader that has met a mail which takes hours
        stopped.append(pid)
        reader.deadline_s = 0.3
        with pytest.raises(UnreadableReportError):
            await reader.read(dsn("x@example.com", "5.1.1", DEAD))
        assert not Path(f"/proc/{pid}").exists()
        reader.deadline_s = MAX_WAIT_S
        reading = await reader.read(dsn("y@example.com", "5.1.1", DEAD))
        assert reading.report.recipients[0].recipient == "y@example.com"
        await reader.close()
        assert not readers(os.getpid())

    asyncio.run(run())


def test_no_more_reports_wait_than_a_few(stopped: list[int]) -> None:
    async def run() -> None:
        reader = ReportReader(DOMAIN, SITE, deadline_s=MAX_WAIT_S)
        tasks = [asyncio.create_task(reader.read(dsn("x@example.com", "5.1.1", DEAD))) for _ in range(MAX_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(UnreadableReportError, match="too many"):
            await reader.read(b"Subject: x\r\n\r\nx\r\n")
        assert all(reading.report.kind == "dsn" for reading in await asyncio.gather(*tasks))
        assert len(readers(os.getpid())) <= 2
        await reader.close()

    asyncio.run(run())


def test_the_process_has_limits_and_none_of_our_secrets(scene: ReturnPathScene) -> None:
    scene.comes(reverse_path(scene.sent("limits@example.com")), dsn("limits@example.com", "5.1.1", DEAD))
    [pid] = readers(scene.relay.children()[0])[:1]
    limits = Path(f"/proc/{pid}/limits").read_text()
    bounded = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()[1:]}
    assert int(bounded["Max cpu time"]) < 60 and int(bounded["Max address space"]) <= 1 << 30
    assert bounded["Max file size"] == bounded["Max core file size"] == "0"
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert {name.partition(b"=")[0] for name in environment.split(b"\0") if name} == {b"PYTHONPATH", b"PYTHONUTF8"}
    opened = {str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()}  # uvloop leaves each of them twice
    assert len(opened) == 3 and not any("waypost" in name for name in opened)  # no listener, no client, no database


def test_a_mail_whose_reading_ends_the_process_is_put_off_and_everything_else_goes_on(
    scene: ReturnPathScene, stopped: list[int]
) -> None:
    to = reverse_path(scene.sent("killed@example.com"))
    mail_role = scene.relay.children()[0]
    scene.comes(reverse_path(scene.sent("before@example.com")), dsn("before@example.com", "5.1.1", DEAD))
    [pid] = readers(mail_role)[:1]
    os.kill(pid, signal.SIGSTOP)
    stopped.append(pid)
    with scene.relay.client() as world:
        world.ehlo()
        world.mail("")
        world.rcpt(to)
        world.putcmd("data")
        assert world.getreply()[0] == 354
        world.send(dsn("killed@example.com", "5.1.1", DEAD) + b".\r\n")
        began = monotonic()
        assert scene.sent("meanwhile@example.com")  # the app's mail does not wait for it
        assert monotonic() - began < 5
        os.kill(pid, signal.SIGKILL)
        code, text = world.getreply()
    assert code == 451 and text.startswith(b"4.3.0")
    assert scene.delivery("killed@example.com")["status"] == "delivered"
    assert scene.comes(to, dsn("killed@example.com", "5.1.1", DEAD)).startswith("250")
    assert scene.delivery("killed@example.com")["status"] == "bounced"
    assert "report-abandoned" in scene.relay.read_log()
