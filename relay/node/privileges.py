"""Drop the privileges of root and become `[relay] user`: mail of strangers is never read as root.

In: the configuration.  Out: a process that belongs to that user, with that user's groups and no capability, and a data
directory that is that user's. A process that is not root does not change.
"""

import grp
import os
import pwd
import sys
from pathlib import Path
from typing import NamedTuple

from relay.config.schema import Config

_PR_SET_NO_NEW_PRIVS = 38


class PrivilegeError(Exception):
    """The process cannot become that user; the text says what to do."""


class _Account(NamedTuple):
    user: str
    uid: int
    gid: int


def will_drop(config: Config) -> bool:
    """True if `drop_privileges` will change the user: bind the listeners before."""
    return os.geteuid() == 0 and bool(config.relay.user)


def is_bare_root(config: Config) -> bool:
    """True if the server would run as root."""
    return os.geteuid() == 0 and not config.relay.user


def find_fault(config: Config) -> str:
    """Why this machine could not become `[relay] user`, as far as the configuration tells; else nothing."""
    try:
        if config.relay.user:
            _account(config)
    except PrivilegeError as error:
        return str(error)
    return ""


def drop_privileges(config: Config) -> None:
    """Becomes `[relay] user` for good, where root has started this. Raises PrivilegeError."""
    if not will_drop(config):
        return
    account = _account(config)
    _prepare_directory(config.relay.data_dir, account)
    os.initgroups(account.user, account.gid)
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)
    # What is imported later would fail in the middle of something.
    for path in (os.__file__, __file__):
        if not os.access(path, os.R_OK):
            raise PrivilegeError(
                f'[relay] user: "{account.user}" may not read {path}, which this program needs; '
                "install Python and Waypost where all users may read, not in root's home"
            )


def forbid_new_privileges() -> None:
    """From now on no program that this process starts has more rights than it has (Linux)."""
    if sys.platform == "linux":
        import ctypes  # here, because no command needs it

        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _account(config: Config) -> _Account:
    user, group = config.relay.user, config.relay.group
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise PrivilegeError(
            f'[relay] user: this machine has no user "{user}"; useradd --system --home-dir / {user}   makes it'
        ) from None
    try:
        gid = grp.getgrnam(group).gr_gid if group else entry.pw_gid
    except KeyError:
        raise PrivilegeError(f'[relay] group: this machine has no group "{group}"') from None
    if entry.pw_uid == 0 or gid == 0:
        raise PrivilegeError("[relay] user and group must not be root's: leave user empty to stay root")
    return _Account(user, entry.pw_uid, gid)


def _prepare_directory(directory: Path, account: _Account) -> None:
    """Makes the data directory the user's where it is new; one that is there must be the user's, with all in it."""
    try:
        if not directory.exists():
            directory.mkdir(parents=True, mode=0o700)
            os.chown(directory, account.uid, account.gid, follow_symlinks=False)
        with os.scandir(directory) as entries:
            foreign = [
                entry.path
                for entry in entries
                if entry.stat(follow_symlinks=False).st_uid != account.uid and entry.name != "lost+found"
            ]
        if directory.stat().st_uid != account.uid:
            foreign.insert(0, str(directory))
    except OSError as error:
        raise PrivilegeError(f"[relay] data_dir {directory}: {error.strerror}") from None
    if foreign:
        raise PrivilegeError(
            f'[relay] data_dir: {foreign[0]} does not belong to [relay] user "{account.user}"; '
            f"chown -R {account.uid}:{account.gid} {directory}   gives it all to that user"
        )
