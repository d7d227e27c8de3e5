"""A backup of a running server, and what starts from it.

Invariant: what was answered 250 before the backup began is in it.
"""

import io
import json
import operator
import tarfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.upstream import ScriptedUpstream
from tests.waiting import until
from tests.waypost_server import Waypost, html_mail, tracking_urls

LONG = "https://shop.example/" + "long" * 400  # a token only refers to it


@pytest.fixture(scope="module")
def running(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waypost]:
    with Waypost(tmp_path_factory.mktemp("running"), upstream.port) as relay:
        yield relay


def restore(archive: Path, folder: Path, *words: str) -> Waypost:
    """Another installation, made from the archive."""
    relay = Waypost(folder)
    assert b"restored the backup of" in relay.cli("restore", str(archive), *words)
    return relay


@pytest.mark.sqlite
def test_a_backup_under_load_has_all_that_was_accepted_before_it(running: Waypost, tmp_path: Path) -> None:
    sent: list[str] = []
    is_over = threading.Event()

    def send() -> None:
        while not is_over.is_set():
            subject = f"under load {len(sent)}"
            assert running.send(html_mail(subject), "load@example.com").startswith("250")
            sent.append(subject)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        for n in range(3):
            until(lambda: len(sent), fits=partial(operator.le, 10 * (n + 1)))
            before = set(sent)
            running.cli("backup", str(tmp_path / f"{n}.tar.gz"))
            restored = restore(tmp_path / f"{n}.tar.gz", tmp_path / f"restored-{n}")
            assert {row["subject"] for row in restored.rows("messages", "--limit", "1000")} >= before
    finally:
        is_over.set()
        sender.join()


@pytest.mark.sqlite
def test_links_of_mail_from_before_are_answered_after_the_restore(
    running: Waypost, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    running.send(html_mail(link=LONG), "links@example.com")
    clicked = tracking_urls(upstream.to("links@example.com")[0].octets)["c"][0]
    running.cli("backup", str(tmp_path / "b.tar"))
    with tarfile.open(tmp_path / "b.tar") as archive:
        names = archive.getnames()
    assert names[0] == "manifest.json" and {"waypost.db", "keys.json"} <= set(names)
    assert not any(name.endswith((".lock", "-wal", "-shm")) for name in names)
    assert (tmp_path / "b.tar").stat().st_mode & 0o777 == 0o600
    with restore(tmp_path / "b.tar", tmp_path / "restored") as restored:
        answer = restored.get(clicked.replace(running.tracking, restored.tracking))
        assert (answer.status_code, answer.headers["location"]) == (302, LONG)
        restored.events("clicked", "links@example.com")
        (entry,) = restored.rows("audit", "--action", "backup.restore")
        assert (entry["target"], entry["by"] != "") == ("b.tar", True)
    assert [one["target"] for one in running.rows("audit", "--action", "backup.write")][:1] == ["b.tar"]


def test_facts_that_wait_in_the_journal_are_in_the_backup(running: Waypost, tmp_path: Path) -> None:
    with running.locked():
        assert running.send(html_mail("journaled"), "journal@example.com").startswith("250")
        done, output, errors = running.command("backup", str(tmp_path / "b.tar"))
    assert (done, output.startswith(b"wrote ")) == (0, True)
    assert errors.startswith(b"this is not in the audit log: the database says: ") and errors.count(b"\n") == 1
    restored = restore(tmp_path / "b.tar", tmp_path / "restored")
    assert not any(row["subject"] == "journaled" for row in restored.rows("messages", "--limit", "1000"))
    with restored:
        restored.events("delivered", "journal@example.com")


@pytest.mark.sqlite
def test_a_restore_does_not_touch_a_running_server_nor_an_installation_without_replace(
    running: Waypost, tmp_path: Path
) -> None:
    running.cli("backup", str(tmp_path / "b.tar"))
    assert b"already serves" in running.cli("restore", str(tmp_path / "b.tar"), "--replace", status=1)
    restored = restore(tmp_path / "b.tar", tmp_path / "restored")
    keys = (tmp_path / "restored/data/keys.json").read_bytes()
    assert b"there is an installation in" in restored.cli("restore", str(tmp_path / "b.tar"), status=1)
    restored.cli("keys", "rotate")
    changed = (tmp_path / "restored/data/keys.json").read_bytes()
    assert b"what was there is in" in restored.cli("restore", str(tmp_path / "b.tar"), "--replace")
    assert (tmp_path / "restored/data/keys.json").read_bytes() == keys
    (replaced,) = (tmp_path / "restored/data").glob("replaced-*")
    assert (replaced / "keys.json").read_bytes() == changed and (replaced / "waypost.db").exists()


def archive_of(path: Path, *members: tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, octets in members:
            about = tarfile.TarInfo(name)
            about.size = len(octets)
            archive.addfile(about, io.BytesIO(octets))
    return path


MANIFEST = ("manifest.json", json.dumps({"waypost_backup": 1, "version": "0", "made_at": "2026-11-01T00:00:00+00:00",
                                         "database": "sqlite"}).encode())  # fmt: skip


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: archive_of(path, ("a", b"x")), "it has no manifest"),
        (lambda path: archive_of(path, ("manifest.json", b"[]")), "its manifest cannot be read"),
        (lambda path: archive_of(path, ("manifest.json", b'{"waypost_backup": 9, "version": "7"}')), "later version"),
        (lambda path: archive_of(path, MANIFEST, ("../../outside", b"x")), "it would write to ../../outside"),
        (lambda path: archive_of(path, MANIFEST, ("/outside", b"x")), "it would write to /outside"),
        (lambda path: archive_of(path, MANIFEST), "it has no keys"),
        (lambda path: archive_of(path, MANIFEST, ("keys.json", b"{}")), "names another kind of database"),
        (lambda path: archive_of(path, MANIFEST, ("keys.json", b"{}"), ("waypost.db", b"SQL" * 99)), "cannot restore"),
        (lambda path: path.write_bytes(b"no archive" * 100) and path, "cannot restore"),
        (lambda path: path, "No such file"),
    ],
)
def test_what_is_no_backup_is_refused_and_changes_nothing(
    make: Callable[[Path], Path], expected: str, tmp_path: Path
) -> None:
    relay = Waypost(tmp_path / "relay")
    assert expected in relay.cli("restore", str(make(tmp_path / "b.tar")), status=1).decode()
    assert {path.name for path in (tmp_path / "relay/data").glob("*")} <= {"smtp.lock", "web.lock"}
    assert not (tmp_path / "outside").exists() and not (tmp_path.parent / "outside").exists()


@pytest.mark.sqlite
def test_a_truncated_archive_is_refused(running: Waypost, tmp_path: Path) -> None:
    running.cli("backup", str(tmp_path / "b.tar"))
    octets = (tmp_path / "b.tar").read_bytes()
    (tmp_path / "b.tar").write_bytes(octets[: len(octets) // 2])
    assert b"cannot restore" in Waypost(tmp_path / "r").cli("restore", str(tmp_path / "b.tar"), status=1)


def test_a_backup_that_cannot_be_written_leaves_nothing_behind(running: Waypost, tmp_path: Path) -> None:
    assert b"No such file" in running.cli("backup", str(tmp_path / "nowhere/b.tar"), status=1)
    assert b"is a folder" in running.cli("backup", str(tmp_path), status=1)
    assert list(tmp_path.iterdir()) == []
    assert b"nothing to back up" in Waypost(tmp_path / "new").cli("backup", str(tmp_path / "b.tar"), status=1)


def test_with_postgresql_the_backup_says_that_pg_dump_has_the_database(
    postgresql: Callable[[], str], tmp_path: Path
) -> None:
    relay = Waypost(tmp_path / "relay", tables=f'[database]\nurl = "{postgresql()}"\n')
    relay.cli("keys", "list")
    assert b"pg_dump" in relay.cli("backup", str(tmp_path / "b.tar"))
    with tarfile.open(tmp_path / "b.tar") as archive:
        assert "keys.json" in archive.getnames() and "waypost.db" not in archive.getnames()
    other = Waypost(tmp_path / "other", tables=f'[database]\nurl = "{postgresql()}"\n')
    assert b"pg_restore" in other.cli("restore", str(tmp_path / "b.tar"))
    third = Waypost(tmp_path / "third", tables='[database]\nurl = ""\n')
    assert b"another kind of database" in third.cli("restore", str(tmp_path / "b.tar"), status=1)
