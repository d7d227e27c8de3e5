"""`waypost classify --mail`, through the command line."""

import json
import subprocess
import sys
from pathlib import Path

from tests.bounce.dsn import DSN
from tests.waypost_server import ROOT, Waypost

KEYS = ["file", "report", "recipient", "action", "status", "code", "kind", "category", "rule", "suppress"]


def test_every_recipient_of_every_mail_has_its_line(relay: Waypost, tmp_path: Path) -> None:
    (tmp_path / "one.eml").write_bytes(DSN)
    (tmp_path / "two.mbox").write_bytes(
        b"From a@example.com Wed Oct  4 02:03:34 2000\n"
        + DSN
        + b"\nFrom b Wed Oct  4 02:03:34 2000\nSubject: Hi\n\nHi\n"
    )
    rows = relay.rows("classify", "--mail", str(tmp_path))
    assert all(list(row) == KEYS for row in rows)
    assert [(Path(row["file"]).name, row["report"], row["recipient"], row["action"]) for row in rows] == [
        ("one.eml", "dsn", "ann@example.com", "failed"),
        ("one.eml", "dsn", "bob@example.com", "delayed"),
        ("two.mbox", "dsn", "ann@example.com", "failed"),
        ("two.mbox", "dsn", "bob@example.com", "delayed"),
        ("two.mbox", "none", "", ""),
    ]
    assert (rows[0]["kind"], rows[0]["category"], rows[0]["suppress"]) == ("hard", "user_unknown", True)


def test_a_file_that_cannot_be_read_does_not_hold_back_the_others() -> None:
    command = [sys.executable, "-m", "relay", "classify", "--mail", "no-such.eml", "-"]
    done = subprocess.run(command, cwd=ROOT, input=DSN, capture_output=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.decode().strip() == "waypost: no-such.eml: No such file or directory"
    assert [json.loads(line)["recipient"] for line in done.stdout.splitlines()] == [
        "ann@example.com",
        "bob@example.com",
    ]
