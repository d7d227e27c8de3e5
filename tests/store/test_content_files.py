"""Large octets lie in files beside SQLite's database: on disk before the 250, gone with their row, in each backup."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from relay.store.database import after_commit
from relay.store.queue.content_files import MIN_OCTETS
from relay.store.store import Store
from tests.postgresql_server import IS_POSTGRESQL
from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost, free_port

pytestmark = pytest.mark.skipif(IS_POSTGRESQL, reason="PostgreSQL has all octets in its rows")
_LINE = b"0123456789" * 7 + b"\r\n"
_LARGE = b"Subject: large\r\nMessage-ID: <large@app.example>\r\n\r\n" + _LINE * (MIN_OCTETS // len(_LINE) + 1)
_QUEUED = '[delivery]\nmode = "queued"\n'


def files(relay: Waypost) -> list[Path]:
    return sorted((relay.folder / "data" / "content").glob("*"))


def id_of(relay: Waypost, subject: str) -> str:
    return next(str(row["id"]) for row in relay.rows("messages") if row["subject"] == subject)


def test_large_mail_is_in_a_file_outlives_a_crash_and_is_delivered_from_it(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    port = free_port()
    with Waypost(tmp_path, port, _QUEUED) as relay:
        assert relay.send(_LARGE, "large@example.com").startswith("250")
        assert relay.send(b"Subject: small\r\n\r\nx\r\n", "small@example.com").startswith("250")
        relay.kill()
        (file,) = files(relay)
        assert file.name == id_of(relay, "large")
        assert file.read_bytes() == _LARGE
        assert file.stat().st_mode & 0o077 == 0
        relay.config.write_text(relay.config.read_text().replace(f":{port}", f":{upstream.port}"))
        relay.start()
        relay.cli("queue", "retry", "--all")
        relay.wait_for_rows("messages", "--status", "delivered", fits=lambda rows: len(rows) == 2)
    (arrival,) = upstream.to("large@example.com")
    assert arrival.octets.endswith(_LARGE)


def test_a_backup_has_the_files_and_a_person_who_is_erased_has_none(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    with Waypost(tmp_path / "one", upstream.port) as relay:
        assert relay.send(_LARGE, "ann@example.com").startswith("250")
        message = id_of(relay, "large")
        relay.cli("backup", str(tmp_path / "backup.tar"))
        relay.cli("person", "erase", "ann@example.com", "--yes")
        assert files(relay) == []
        restored = Waypost(tmp_path / "two")
        restored.cli("restore", str(tmp_path / "backup.tar"))
        (file,) = files(restored)
        assert (file.name, file.read_bytes()) == (message, _LARGE)


def test_what_is_undone_is_not_done_after_the_commit(opened: Store) -> None:
    done: list[str] = []

    def mark(name: str, error: Exception | None = None) -> None:
        def work(connection: sa.Connection) -> None:
            after_commit.schedule(connection, lambda: done.append(name))
            if error:
                raise error

        future = opened.writer.submit(work)
        if error:
            with pytest.raises(type(error)):
                future.result(60)
        else:
            future.result(60)

    mark("first")
    mark("undone", ValueError())
    mark("second")
    assert done == ["first", "second"]
