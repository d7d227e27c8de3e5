"""The data directory, made ready before a role starts: lock, keys, database.

What needs the database loads it: commands that need the keys alone start in half the time.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from relay import tokens
from relay.config.schema import Config
from relay.node import privileges
from relay.operator_error import OperatorError

if TYPE_CHECKING:
    import sqlalchemy as sa

    from relay.store.store import Store

KEYS_FILE = "keys.json"
DATABASE_FILE = "waypost.db"  # as engine has it
ROLES = ("smtp", "web")
_LOCK_WAIT_S = 3.0  # the roles of a killed server end right after it


class StartupError(OperatorError):
    """The server cannot start; the text says what to do."""


def database_url(config: Config) -> str:
    from relay.store.database import engine

    return engine.database_url(config.database.url.get_secret_value(), config.relay.data_dir)


def open_store(config: Config) -> "Store":
    """This process's store. Call `prepare_data` before, in this or another process."""
    from relay.store.database import identities
    from relay.store.store import Store

    policy = identities.IdentityPolicy(
        config.privacy.mode,
        open_key_ring(config).derive_secret(identities.KEY_PURPOSE),
        config.privacy.consent == "asked",
    )
    return Store(database_url(config), config.relay.data_dir, policy)


def open_key_ring(config: Config) -> tokens.KeyRing:
    """The installation's keys, made at the first start. Raises StartupError, also if they are gone."""
    become_owner(config)
    path = config.relay.data_dir / KEYS_FILE
    try:
        if not path.exists():
            _check_is_new(config, path)
        return tokens.open_key_ring(path)
    except OSError as error:
        raise StartupError(f"cannot use the keys in {path}: {error.strerror}") from None
    except ValueError as error:
        raise StartupError(f"cannot use the keys: {error}") from None


def make_new_keys(config: Config) -> bool:
    """Makes keys where they are gone; False if they are there. The links of all mail sent so far end. Raises
    StartupError."""
    become_owner(config)
    path = config.relay.data_dir / KEYS_FILE
    if path.exists():
        return False
    try:
        tokens.open_key_ring(path)
    except OSError as error:
        raise StartupError(f"cannot use the keys: {error}") from None
    return True


def _check_is_new(config: Config, path: Path) -> None:
    """Refuses to make keys beside mail that others have signed. Raises StartupError."""
    if not config.database.url.get_secret_value() and not (path.parent / DATABASE_FILE).exists():
        return
    import sqlalchemy as sa

    from relay.store.database import preparation

    try:
        has_mail = preparation.has_messages(database_url(config))
    except sa.exc.SQLAlchemyError as error:
        raise StartupError(f"cannot open the database: {describe_database_error(error)}") from None
    if has_mail:
        raise StartupError(
            f"{path} is gone, and the database has mail whose links it signed. Put it back: from a backup, or with "
            "waypost keys import FILE. Or start with waypost serve --new-keys: all links of that mail end, and in "
            'mode = "pseudonymous" or "aggregate" it is forgotten who unsubscribed'
        )


def describe_database_error(error: "sa.exc.SQLAlchemyError") -> str:
    """What the database says, without the statement."""
    cause = getattr(error, "orig", None) or error
    diagnosis = getattr(cause, "diag", None)  # PostgreSQL's: its first line, and not the place in the statement
    return (diagnosis and diagnosis.message_primary) or str(cause)


def prepare_data(config: Config, *, may_write: bool = True) -> None:
    """Makes the directory, the keys and the database, or brings them up to date. Without `may_write` a directory that
    can only be read will do, if there is nothing to do. Raises StartupError.

    From here on, and in `open_key_ring`, root has become `[relay] user`: what commands write there the server can read.
    """
    prepare_directory(config, may_write=may_write)
    prepare_database(config)


def prepare_directory(config: Config, *, may_write: bool = True) -> None:
    """The first half of `prepare_data`: the directory and the keys. Raises StartupError."""
    become_owner(config)
    os.umask(0o077)  # no other user may read mail
    directory = config.relay.data_dir
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if may_write and not os.access(directory, os.W_OK):
            raise PermissionError(13, "not writable", str(directory))
    except OSError as error:
        raise StartupError(f"[relay] data_dir {directory}: {error.strerror}") from None
    open_key_ring(config)


def prepare_database(config: Config) -> None:
    """The second half: the database. Raises StartupError."""
    import sqlalchemy as sa

    from relay.store.database import migrate, preparation

    directory = config.relay.data_dir
    try:
        preparation.prepare_database(database_url(config))
    except (migrate.DatabaseTooNewError, migrate.DatabaseLocaleError) as error:
        raise StartupError(str(error)) from None
    except sa.exc.SQLAlchemyError as error:
        if not config.database.url.get_secret_value() and not os.access(directory, os.W_OK):
            # SQLite makes files beside its own, and deletes them at the end.
            raise StartupError(f"[relay] data_dir {directory}: not writable, and no server has it open") from None
        raise StartupError(f"cannot open the database: {describe_database_error(error)}") from None


def become_owner(config: Config) -> None:
    """Root becomes `[relay] user`, if there is one. Raises StartupError."""
    try:
        privileges.drop_privileges(config)
    except privileges.PrivilegeError as error:
        raise StartupError(str(error)) from None


@contextlib.contextmanager
def role_lock(config: Config, role: str) -> Iterator[None]:
    """Locks the data directory for a role, because two servers must not share one directory. Raises StartupError."""
    path: Path = config.relay.data_dir / f"{role}.lock"
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        end = time.monotonic() + _LOCK_WAIT_S
        while not _lock(file):
            holder = os.pread(file, 32, 0).decode("ascii", "replace").strip() or "unknown"
            if _has_ended(holder) and time.monotonic() < end:
                time.sleep(0.05)
                continue
            raise StartupError(
                f"another Waypost (process {holder}) already serves {role} on {config.relay.data_dir}; "
                "stop it, or give this one another [relay] data_dir"
            )
        os.truncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(file)


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _has_ended(holder: str) -> bool:
    """True if there is no process of that number."""
    try:
        os.kill(int(holder), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return True
    except PermissionError:  # somebody else's, and alive
        pass
    return False
