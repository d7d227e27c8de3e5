"""The log of facts that are on disk before they are in the database, file by file."""

import os
import threading
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from relay.store.database import journal
from relay.store.database.fact_log import FactLog
from relay.store.database.journal import Fact, Journal

FACTS = {"word": Fact(TypeAdapter(str), lambda _connection, _value: None)}


def log_in(folder: Path) -> FactLog:
    return FactLog(folder, lambda: FACTS)


def lines(folder: Path) -> list[bytes]:
    return [line for path in folder.iterdir() for line in journal.read_lines(path)]


def test_what_is_committed_leaves_the_file(tmp_path: Path) -> None:
    log = log_in(tmp_path)
    first = log.append([("word", "one"), ("word", "two")])
    assert lines(tmp_path) == [b'word "one"', b'word "two"'] and Journal(tmp_path, lambda: FACTS).has_pending
    log.mark_committed(first, 1)
    second = log.append([("word", "three")])
    assert second is first and len(lines(tmp_path)) == 3
    log.mark_committed(first, 2)
    assert lines(tmp_path) == [] and not Journal(tmp_path, lambda: FACTS).has_pending
    log.append([("word", "four")])
    assert lines(tmp_path) == [b'word "four"']


def test_what_is_left_is_given_to_be_replayed_once_nothing_else_of_the_file_is_pending(tmp_path: Path) -> None:
    log = log_in(tmp_path)
    log_file = log.append([("word", "one"), ("word", "two")])
    log.leave_to_replay(log_file, 1)
    log.release()
    with Journal(tmp_path, lambda: FACTS).lock_files() as paths:
        assert not paths
    log.mark_committed(log_file, 1)
    with Journal(tmp_path, lambda: FACTS).lock_files() as paths:
        assert [journal.read_lines(path) for path in paths] == [[b'word "one"', b'word "two"']]
    assert log.append([("word", "three")]) is not log_file


def test_a_write_that_fails_keeps_nothing_and_the_next_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = log_in(tmp_path)
    log.append([("word", "one")])

    def refuse(_file: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "fdatasync", refuse)
        with pytest.raises(OSError, match="No space left"):
            log.append([("word", "two")])
    log.append([("word", "three")])
    assert sorted(lines(tmp_path)) == [b'word "one"', b'word "three"']


def test_nobody_who_counts_waits_for_a_disk_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_in(tmp_path)
    log_file = log.append([("word", "one")])
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(_file: int) -> None:
        hangs.set()
        assert goes_on.wait(60)

    monkeypatch.setattr(os, "fdatasync", hang)
    appending = threading.Thread(target=log.append, args=([("word", "two")],))
    appending.start()
    assert hangs.wait(60)

    def count() -> None:
        log.mark_committed(log_file, 1)
        log.release()

    counting = threading.Thread(target=count, daemon=True)
    counting.start()
    counting.join(60)
    is_free = not counting.is_alive()
    goes_on.set()
    appending.join(60)
    assert is_free
    assert b'word "two"' in lines(tmp_path)  # it is pending: the file was not emptied under it


def test_a_disk_that_takes_nothing_costs_no_descriptor_and_no_file_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = log_in(tmp_path)

    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", refuse)
        for _ in range(3):
            with pytest.raises(OSError, match="No space left"):
                log.append([("word", "one")])
            held = len(list(Path("/proc/self/fd").iterdir())), len(list(tmp_path.iterdir()))
        with pytest.raises(OSError, match="No space left"):
            log.append([("word", "one")])
        assert (len(list(Path("/proc/self/fd").iterdir())), len(list(tmp_path.iterdir()))) == held
    log.append([("word", "two")])
    assert lines(tmp_path) == [b'word "two"']


def test_a_file_that_cannot_be_emptied_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_in(tmp_path)
    log_file = log.append([("word", "one")])

    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "ftruncate", refuse)
        log.mark_committed(log_file, 1)
    again = log.append([("word", "two")])
    assert again is not log_file and lines(tmp_path) == [b'word "two"']
    log.mark_committed(again, 1)
    assert lines(tmp_path) == []
