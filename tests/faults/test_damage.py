"""The database's file damaged under load: what is answered 250 is there again with the backup."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from time import sleep

import pytest

from tests.faults.figures import Figure
from tests.faults.load import Load, arrived, doubles
from tests.faults.queued_mail import drained, settings
from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost, html_mail

pytestmark = pytest.mark.sqlite  # its pages are overwritten
_SOUND_PAGES = 8  # of the file's begin: it opens, and some tables can be read


@pytest.mark.parametrize("mode", ["queued", "inline"])
def test_mail_that_is_accepted_into_a_damaged_database_is_delivered_after_the_backup_is_back(
    mode: str, tmp_path: Path, sink: ScriptedUpstream, figure: Figure
) -> None:
    sink.at_helo = "451 4.3.0 later"
    file = tmp_path / "data" / "waypost.db"
    with Waypost(tmp_path, None, settings(sink, mode)) as relay:
        with Load(relay.port, threads=2, pause_s=0.02) as load:
            load.wait_for(150)
            backup = _damage(file)
            before = len(load.accepted)
            relay.wait_for_log(" database-damaged ")
            sleep(1.5)
            during = len(load.accepted) - before
        assert relay.read_log().count(" database-damaged ") <= 2  # of the mail role and of the web role
        assert relay.read_log().count(" database-unavailable ") < 20
        assert not any(word in relay.read_log() for word in ("Traceback", " journal-line-invalid "))
        assert relay.send(html_mail(), "later@example.com").startswith("451 4.3.0 ")
    for left in file.parent.glob("waypost.db-*"):
        left.unlink()
    backup.replace(file)
    sink.at_helo = ""
    with relay:
        drained(relay)
        assert not list((tmp_path / "data" / "journal").glob("*.bad"))
    lost = load.accepted - set(arrived(sink))
    figure(f"{mode}: accepted {len(load.accepted)}, {during} after the damage, lost {len(lost)}")
    assert not lost
    assert not doubles(sink)


def _damage(file: Path) -> Path:
    """Overwrites all but the first pages; returns a backup of the moment before."""
    backup = file.with_name("backup.db")
    with closing(sqlite3.connect(file, isolation_level=None, timeout=60)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(backup)) as copy:
            source.backup(copy)
        [page_octets] = holder.execute("PRAGMA page_size").fetchone()
        with file.open("r+b") as damaged:
            end = damaged.seek(0, os.SEEK_END)
            at = damaged.seek(_SOUND_PAGES * page_octets)
            damaged.write(os.urandom(end - at))
            os.fsync(damaged.fileno())
        holder.execute("ROLLBACK")
    return backup
