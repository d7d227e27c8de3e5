"""What the processes log, in the form of `log`: start and end, limits of the machine, alerts that were sent.

docs/log-facts.md has a row for each fact, and a test compares the two.
"""

import logging

from relay import log_lines

_write = log_lines.write_line


def starting(version: str, mode: str, upstreams: int) -> None:
    _write(logging.INFO, "starting", version=version, mode=mode, upstreams=upstreams)


def configuration(path: str) -> None:
    _write(logging.INFO, "configuration", path=path)


def no_configuration(path: str) -> None:
    """No file was found, and no variable names an upstream: the server starts as a sandbox."""
    remedy = "name a file with --config or $WAYPOST_CONFIG; waypost config prints one"
    _write(logging.WARNING, "no-configuration", path=path, remedy=remedy)


def variable_ignored(name: str) -> None:
    """A variable of the environment looks like a key of ours and is none."""
    _write(logging.WARNING, "variable-ignored", name=name, remedy="two underscores stand between table and key")


def keys_made() -> None:
    """`--new-keys`: the keys were gone, and there are new ones. The links of mail sent so far end."""
    _write(logging.WARNING, "keys-made")


def first_account(name: str, password_file: str) -> None:
    """The first start made the console's account. With `[log] format = "text"` lines for people say so."""
    _write(logging.INFO, "first-account", name=name, password_file=password_file)


def runs_as_root() -> None:
    _write(logging.WARNING, "runs-as-root", remedy="name a user in [relay] user: root is needed to bind low ports only")


def secrets_readable(file: str, keys: str) -> None:
    """The configuration file holds secrets, and every user of this machine may read it."""
    _write(logging.WARNING, "secrets-readable", file=file, keys=keys, remedy="chmod o-r")


def role_started(role: str, pid: int) -> None:
    _write(logging.INFO, "role-started", role=role, pid=pid)


def role_died(role: str, pid: int, status: int) -> None:
    _write(logging.ERROR, "role-died", role=role, pid=pid, status=status)


def role_silent(role: str, pid: int, silent_s: float) -> None:
    """A role was silent for `[relay] watchdog`. It writes its stacks, is ended, and is started again."""
    _write(logging.ERROR, "role-silent", role=role, pid=pid, silent_s=round(silent_s, 1))


def role_unstopped(role: str, pid: int, after_s: float, silent_s: float) -> None:
    """A role did not stop in time, and is ended."""
    _write(logging.ERROR, "role-unstopped", role=role, pid=pid, after_s=round(after_s, 1), silent_s=round(silent_s, 1))


def out_of_descriptors(limit: int, reason: str) -> None:
    """No connection can be accepted. Logged once a minute."""
    if log_lines.is_first_within_minute("out-of-file-descriptors"):
        remedy = "raise LimitNOFILE (ulimit -n), or look for who holds connections open"
        _write(logging.ERROR, "out-of-file-descriptors", limit=limit, reason=reason, remedy=remedy)


def alert_sent(problem: str, state: str) -> None:
    _write(logging.INFO, "alert-sent", problem=problem, state=state)


def alert_failed(problem: str, service: str) -> None:
    _write(logging.ERROR, "alert-failed", problem=problem, service=service)


def waiting_for_database(for_s: float) -> None:
    """The server is starting, and the database has not answered for so long. Logged every five seconds."""
    _write(logging.WARNING, "waiting-for-database", for_s=round(for_s))


def draining(seconds: float) -> None:
    _write(logging.INFO, "draining", at_most_s=seconds)


def stopped() -> None:
    _write(logging.INFO, "stopped")


def too_many_connections(site: str, group: str, limit: int) -> None:
    """A connection to a site was refused: that network, or all clients, reached the limit. Once a minute for a site."""
    if log_lines.is_first_within_minute(("too-many-connections", site)):
        _write(logging.WARNING, "too-many-connections", site=site, group=group, limit=limit)
