"""Whose fault an error is: the database's own trouble is waited for, a mistake of ours is shown."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from relay.store.database import engine, errors
from relay.store.recipients import suppressions
from relay.store.store import Store
from tests.message_factory import NOW


def _fails(opened: Store, statement: str) -> Exception:
    with pytest.raises(sa.exc.SQLAlchemyError) as caught:
        opened.writer.submit(lambda connection: connection.exec_driver_sql(statement)).result(60)
    return caught.value


def test_what_would_fail_each_time_is_ours_and_what_is_not_there_is_the_databases(opened: Store) -> None:
    opened.writer.submit(
        lambda connection: suppressions.add_suppression(connection, "ann@example.com", reason="manual", at=NOW)
    ).result(60)
    twice = "INSERT INTO suppression SELECT * FROM suppression"
    for mistake in (twice, "SELECT nothing FROM message", "SELEC 1"):
        assert not errors.is_database_fault(_fails(opened, mistake))
    missing = _fails(opened, "SELECT * FROM elsewhere")
    assert errors.is_database_fault(missing)
    assert "elsewhere" in errors.describe_error(missing) and "SELECT" not in errors.describe_error(missing)
    for ours in (KeyError("x"), TypeError(), sa.exc.ArgumentError()):
        assert not errors.is_database_fault(ours)
    assert errors.is_database_fault(OSError(28, "No space left on device"))
    assert errors.describe_error(ValueError("for ann@example.com\nand more")) == "for …"


def _garbage(file: Path) -> None:
    file.write_bytes(os.urandom(1 << 16))


def _torn(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(4096)
        opened.write(os.urandom(1 << 16))


def _a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("harm", [_garbage, _torn, _a_folder])
def test_a_file_that_is_damaged_or_cannot_be_opened_is_the_databases_fault(
    harm: Callable[[Path], None], tmp_path: Path
) -> None:
    file = tmp_path / "waypost.db"
    with sqlite3.connect(file) as made:
        made.execute("CREATE TABLE t (x)")
        made.executemany("INSERT INTO t VALUES (?)", [(os.urandom(500),) for _ in range(100)])
    made.close()
    harm(file)
    reading = engine.open_engine(f"sqlite:///{file}", may_write=False)
    with pytest.raises(sa.exc.SQLAlchemyError) as caught, reading.connect() as connection:
        connection.exec_driver_sql("SELECT max(x) FROM t").all()
    assert errors.is_database_fault(caught.value)
    reading.dispose()
