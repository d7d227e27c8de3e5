"""What 250 means in queued mode: the mail is on the disk. Seen from outside, by the system calls of the server."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.faults.figures import Figure
from tests.upstream import ScriptedUpstream
from tests.waiting import until
from tests.waypost_server import Waypost, html_mail

MAILS = 20
_SYNCED = re.compile(r"f(?:data)?sync(?:\(\d+\)|.* resumed>\)) += 0")


@pytest.mark.sqlite  # PostgreSQL's server does it
@pytest.mark.skipif(not shutil.which("strace"), reason="no strace here: apt-get install strace")
def test_queued_mail_is_synced_to_the_disk_before_its_250(
    tmp_path: Path, sink: ScriptedUpstream, figure: Figure
) -> None:
    trace = tmp_path / "trace"
    with Waypost(tmp_path, sink.port, '[delivery]\nmode = "queued"\n') as relay:
        strace = subprocess.Popen(
            [
                "strace",
                *("-f", "-s", "60", "-e", "trace=fsync,fdatasync,sendto,sendmsg,write", "-o", str(trace)),
                *("-p", str(relay.children()[0])),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert strace.stderr is not None
        if "attached" not in (said := strace.stderr.readline()):
            strace.kill()
            pytest.skip(f"strace may not look into processes here: {said.strip()}")
        for n in range(MAILS):
            assert relay.send(html_mail(), f"synced-{n}@example.com").startswith("250 2.0.0 queued as")
        until(lambda: trace.read_text().count("queued as") >= MAILS)
        strace.terminate()
        strace.communicate()
    synced = syncs = 0
    for line in trace.read_text().splitlines():
        if '"354 ' in line:
            synced = 0
        elif _SYNCED.search(line):
            synced += 1
            syncs += 1
        elif '"250 2.0.0 queued as' in line:
            assert synced, f"a 250 before the disk had it: {line}"
    figure(f"{MAILS} mails, each synced between 354 and 250; {syncs} syncs in all")
