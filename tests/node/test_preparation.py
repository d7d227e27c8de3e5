"""A start prepares the database in a process of its own: what goes wrong there is said as if it were one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fork_server import IMPORT_PATH
from tests.waypost_server import Waypost, free_port


def test_a_fault_while_the_database_is_prepared_is_printed_where_it_happened(tmp_path: Path) -> None:
    relay = Waypost(tmp_path)
    relay.mistakes = ["relay.store.database.preparation:prepare_database"]
    with pytest.raises(AssertionError) as started:
        relay.start()
    said = str(started.value)
    assert "in _prepare_database" in said and "KeyError" in said  # the frames of the process that did it
    assert "could not be prepared, for a fault of Waypost" in said


def test_who_starts_it_may_ignore_the_end_of_processes(tmp_path: Path) -> None:
    relay = Waypost(tmp_path, tables=f'[database]\nurl = "postgresql+psycopg://ann@127.0.0.1:{free_port()}/waypost"\n')
    command = f"trap '' CHLD; exec {sys.executable} -m relay serve --config {relay.config}"
    ended = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": IMPORT_PATH}
    )
    assert ended.returncode == 1 and "cannot open the database: " in ended.stderr and "Traceback" not in ended.stderr
