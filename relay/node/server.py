"""One command, several processes: prepares the data, binds the sockets, and has the supervisor run the roles.

The sockets belong to the supervisor: while a role restarts, its clients wait in the backlog and none is turned away.
"""

import contextlib
import functools
import os
import resource
import socket
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa

from relay import __version__, metrics, process_log, telemetry
from relay.config.schema import Config
from relay.config.values import HostPort
from relay.node import (
    alert_sender,
    data_directory,
    listeners,
    mail_role,
    maintenance,
    own_process,
    privileges,
    recovery,
    systemd,
    web_role,
)
from relay.node.data_directory import StartupError
from relay.node.event_loop import make_role_loop
from relay.node.observer import Observer
from relay.node.role import Role
from relay.node.shared_logins import make_channels
from relay.node.supervisor import Supervisor
from relay.store.console import accounts
from relay.store.database import answer_watch, errors
from relay.store.webhooks import endpoints, webhook_queue
from web.console import oidc, sign_in

_MAX_OPEN_FILES = 1 << 20  # open at a time in a process: a connection each, and more than a machine serves


def serve(config: Config, only: str | None) -> int:
    """Runs the node until SIGTERM or SIGINT. Returns the exit status. Raises StartupError."""
    _raise_file_limit()
    alert_sender.check_apprise(config)
    telemetry.check(config)
    oidc.check_authlib(config)
    if privileges.is_bare_root(config):
        process_log.runs_as_root()
    with contextlib.ExitStack() as locks:
        with answer_watch.watch_answers(process_log.waiting_for_database):
            # ports that only root may have
            early = listeners.bind_sockets(config, only) if privileges.will_drop(config) else None
            data_directory.prepare_directory(config)
        own_process.run(functools.partial(_prepare_database, config))
        with answer_watch.watch_answers(process_log.waiting_for_database):
            bound, roles = _make_ready(config, only, early, locks)
        return Supervisor(config, roles, functools.partial(_print_ready, config, roles, bound.metrics)).run()


def _prepare_database(config: Config) -> None:
    with answer_watch.watch_answers(process_log.waiting_for_database):
        data_directory.prepare_database(config)


def _make_ready(
    config: Config, only: str | None, bound: listeners.Listeners | None, locks: contextlib.ExitStack
) -> tuple[listeners.Listeners, list[Role]]:
    """Locks the data, binds the listeners unless they are bound, and settles what this node's last server left. Raises
    StartupError."""
    for role in ("smtp", "web"):
        if only in (None, role):
            locks.enter_context(data_directory.role_lock(config, role))
    _sync_webhooks(config, only)
    mode = "sandbox" if config.is_sandbox else config.delivery.mode
    process_log.starting(__version__, mode, len(config.upstream))
    bound = bound or listeners.bind_sockets(config, only)
    roles: list[Role] = []
    if only in (None, "smtp"):
        channels = make_channels(config.relay.workers)
        for n, (channel, counters) in enumerate(zip(channels, metrics.share(len(channels)), strict=True)):
            observer = Observer(config, bound.metrics) if only == "smtp" and n == 0 else None
            work = functools.partial(mail_role.serve, channel=channel, observer=observer)
            roles.append(Role("smtp", work, bound.smtp, counters, recovery.recover_dead_workers, make_role_loop))
        recovery.recover_dead_workers(config, None)  # this node's server starts: those that it had are dead
    if only in (None, "web"):
        work = functools.partial(web_role.serve, observer=Observer(config, bound.metrics))
        roles.append(Role("web", work, bound.web, metrics.share(1)[0], make_loop=make_role_loop))
        _print_first_account(config)
    return bound, roles


def _raise_file_limit() -> None:
    """Many systems start a program with 1,024 open files, which is as many clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # where the system refuses, the limit stays as it is
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _sync_webhooks(config: Config, only: str | None) -> None:
    """Writes the configured webhooks into the database before the first event. It also
    releases the leases on webhook requests whose holders are dead."""
    store = data_directory.open_store(config)

    def sync(connection: sa.Connection) -> None:
        endpoints.sync_from_config(connection, config.webhook, datetime.now(UTC))
        if only != "smtp":
            webhook_queue.release_requests(connection, recovery.own_workers(config, store))

    try:
        store.writer.submit(sync).result()
        try:
            maintenance.make_months(store, datetime.now(UTC))
        except sa.exc.SQLAlchemyError as error:  # rows go into the default partition; the retention tries again
            errors.log_failure(error, "months")
    except sa.exc.SQLAlchemyError as error:
        raise StartupError(f"cannot write to the database: {errors.describe_error(error)}") from None
    finally:
        store.close()


def _print_first_account(config: Config) -> None:
    """At the very first start: how to get into the console."""
    store = data_directory.open_store(config)
    try:
        account = sign_in.create_first_account(store, config.console.admin_password.get_secret_value())
    finally:
        store.close()
    if account is None or config.console.admin_password.get_secret_value():
        return
    name, password = account
    password_or_path, what = password, "Shown this once."
    if not sys.stderr.isatty():  # systemd's journal would keep it for ever
        path = accounts.first_password_file(config.relay.data_dir)
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123
                file.write(f"{password}\n")
        except OSError as error:
            path.unlink(missing_ok=True)
            raise StartupError(
                f"cannot write {path}: {error.strerror}; waypost user add {name} sets a password"
            ) from None
        if config.log.format == "json":
            process_log.first_account(name, str(path))
            return
        password_or_path, what = str(path), "That file holds its password, until it signs in."
    sys.stderr.write(
        f"\n  The console's first account:  {name}  /  {password_or_path}\n"
        f"  {what} Change it with: waypost user add {name}\n\n"
    )


def _print_ready(config: Config, roles: Sequence[Role], bound_metrics: Sequence[socket.socket]) -> None:
    parts = ["ready"]
    for role in {role.name: role for role in roles}.values():
        places = [HostPort(*listener.getsockname()[:2]) for listener in role.sockets]
        if role.name == "smtp":
            parts.append("smtp=" + ",".join(map(str, places)))
        else:
            parts += [f"tracking={config.tracking.public_url}", f"console=http://{places[1]}"]
    if bound_metrics:
        parts.append(f"metrics=http://{HostPort(*bound_metrics[0].getsockname()[:2])}/metrics")
    sys.stdout.write(" ".join(parts) + "\n")
    sys.stdout.flush()
    systemd.notify("READY=1")
