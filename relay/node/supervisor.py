"""One command, several processes: binds, prepares, starts the roles and keeps them up.

The sockets belong to the supervisor: while a role restarts, its clients wait in the backlog and none is
turned away. A role that dies is started again; the supervisor's own death ends them all.
"""

import asyncio
import contextlib
import ctypes
import errno
import functools
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import sqlalchemy as sa

from relay import __version__, log
from relay.config.schema import Config
from relay.config.values import HostPort
from relay.delivery import runner
from relay.node import ground, mail, pages
from relay.node.circle import circles
from relay.node.ground import Unusable
from relay.store import errors, leases, outbox, webhooks
from web import auth

Serve = Callable[[Config, Sequence[socket.socket], asyncio.Event, asyncio.Event], Awaitable[None]]

_BIND_FOR_S = 3.0  # a predecessor may still be on its way out
_RESTART_AFTER_S = 1.0
_READY = b"r"
_PR_SET_PDEATHSIG = 1
_STOPPING = (signal.SIGTERM, signal.SIGINT)
_FILES = 1 << 20  # open at a time in a process: a connection each, and more than a machine serves


class Role(NamedTuple):
    """A process to run: what it serves, and on which sockets."""

    name: str
    serve: Serve
    sockets: Sequence[socket.socket]


def serve(config: Config, only: str | None) -> int:
    """Runs the node until SIGTERM or SIGINT. Returns the exit status. Raises Unusable."""
    _raise_file_limit()
    ground.prepare(config)
    with contextlib.ExitStack() as held:
        for role in ("smtp", "web"):
            if only in (None, role):
                held.enter_context(ground.locked(config, role))
        _learn_webhooks(config)
        log.starting(__version__, "sandbox" if config.is_sandbox else config.delivery.mode, len(config.upstream))
        roles: list[Role] = []
        if only in (None, "smtp"):
            smtp = [_bind(listen.address, "[[listen]] address") for listen in config.listen]
            roles += [
                Role("smtp", functools.partial(mail.serve, circle=circle), smtp)
                for circle in circles(config.relay.workers)
            ]
            if not config.database.url.get_secret_value():
                _bury(config, None)  # this machine's only server starts: whoever held a lease is dead
        if only in (None, "web"):
            web = [
                _bind(config.tracking.listen, "[tracking] listen"),
                _bind(config.console.listen, "[console] listen"),
            ]
            roles.append(Role("web", pages.serve, web))
            _welcome(config)
        return _Supervisor(config, roles, _ready_line(config, roles)).run()


def _raise_file_limit() -> None:
    """Many systems start a program with 1,024 open files, which is as many clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # a system that says no keeps its limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _bind(address: HostPort, key: str) -> socket.socket:
    end = time.monotonic() + _BIND_FOR_S
    while True:
        try:
            found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            family, kind, protocol, _, name = found[0]
            listener = socket.socket(family, kind, protocol)
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(name)
                listener.listen(1024)
                listener.setblocking(False)
            except OSError:
                listener.close()
                raise
            return listener
        except OSError as error:
            if time.monotonic() > end or error.errno != errno.EADDRINUSE:
                raise Unusable(f"{key}: cannot listen on {address}: {error.strerror}") from None
            time.sleep(0.1)


def _bury(config: Config, worker: str | None) -> None:
    """Settles what a dead worker did but could not write down, then gives its leases back; None: of all workers.

    In that order, or delivered mail would go out again. With the database away the leases lapse by themselves.
    The death of one worker counts against what it was attempting; that of them all is the machine's or an operator's.
    """
    store = ground.open_store(config)
    try:
        asyncio.run(store.replay())
        if worker is None:
            store.writer.submit(leases.release).result()
        else:
            for spot in store.writer.submit(lambda session: leases.bury(session, worker)).result():
                log.parked(spot.message, spot.number, leases.MOST_CRASHES)
    except (sa.exc.SQLAlchemyError, OSError) as error:
        errors.log_failure(error, "leases")
    finally:
        store.close()


def _learn_webhooks(config: Config) -> None:
    """Has the database know the webhooks of the configuration before the first event; on a database of our own,
    whoever held a lease on something to tell is dead."""
    store = ground.open_store(config)

    def learn(session: sa.Connection) -> None:
        webhooks.adopt(session, config.webhook, datetime.now(UTC))
        if not config.database.url.get_secret_value():
            outbox.release(session)

    try:
        store.writer.submit(learn).result()
    except sa.exc.SQLAlchemyError as error:
        raise Unusable(f"cannot write to the database: {type(error).__name__}") from None
    finally:
        store.close()


def _welcome(config: Config) -> None:
    """At the very first start: how to get into the console."""
    store = ground.open_store(config)
    try:
        account = auth.first_account(store)
    finally:
        store.close()
    if account:
        name, password = account
        sys.stderr.write(
            "\n"
            f"  The console's first account:  {name}  /  {password}\n"
            f"  Shown this once. Change it with: waypost user add {name}\n"
            "\n"
        )


def _ready_line(config: Config, roles: Sequence[Role]) -> str:
    words = ["ready"]
    for role in {role.name: role for role in roles}.values():
        places = [HostPort(*listener.getsockname()[:2]) for listener in role.sockets]
        if role.name == "smtp":
            words.append("smtp=" + ",".join(map(str, places)))
        else:
            words += [f"tracking={config.tracking.public_url}", f"console=http://{places[1]}"]
    return " ".join(words)


class _Child(NamedTuple):
    role: Role
    heartline: int  # read end of a pipe that says ready, then closes with the child


class _Supervisor:
    def __init__(self, config: Config, roles: Sequence[Role], ready_line: str) -> None:
        self._config = config
        self._roles = roles
        self._ready_line = ready_line
        self._children: dict[int, _Child] = {}
        self._is_stopping = False

    def run(self) -> int:
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        # A daemon reads its certificates again; a server in a terminal that closes has been left.
        signal.signal(signal.SIGHUP, self._on_stop if sys.stdin and sys.stdin.isatty() else self._on_hangup)
        for role in self._roles:
            self._start(role)
        for child in list(self._children.values()):
            if os.read(child.heartline, 1) != _READY and not self._is_stopping:
                self._tell(signal.SIGTERM)
                raise Unusable(f"the {child.role.name} role did not start; its reason stands above")
        if not self._is_stopping:
            sys.stdout.write(self._ready_line + "\n")
            sys.stdout.flush()
        self._watch()
        log.stopped()
        return 0

    def _start(self, role: Role) -> None:
        heart, line = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        # A signal between the fork and its being noted would miss the child, or find the parent's handler in it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        if self._must_stop():
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(heart)
            os.close(line)
            return
        pid = os.fork()
        if pid == 0:
            os.close(heart)
            status = 1
            try:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's ^C goes to all; the supervisor passes it on
                signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the mail role listens to it
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                status = _live(self._config, role, line, parent)
            finally:
                sys.stderr.flush()
                os._exit(status)
        os.close(line)
        self._children[pid] = _Child(role, heart)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        log.role_started(role.name, pid)
        if self._must_stop():  # the handler ran between the fork and the note of it
            os.kill(pid, signal.SIGTERM)

    def _watch(self) -> None:
        """Until all children are gone. Each that dies unasked is started again."""
        while self._children:
            pid, status = os.wait()
            child = self._children.pop(pid)
            os.close(child.heartline)
            if not self._is_stopping:
                log.role_died(child.role.name, pid, status)
                time.sleep(_RESTART_AFTER_S)
                if child.role.name == "smtp":
                    _bury(self._config, runner.name(pid))
            if not self._is_stopping:
                self._start(child.role)

    def _must_stop(self) -> bool:
        return self._is_stopping  # which a signal changes at any moment

    def _on_stop(self, number: int, frame: object) -> None:
        if self._is_stopping:  # a second one: at once
            self._tell(signal.SIGKILL)
            os._exit(1)
        self._is_stopping = True
        log.draining(self._config.relay.drain.total_seconds())
        self._tell(signal.SIGTERM)
        for role in self._roles:  # the roles close theirs: from then on new clients are turned away, not kept waiting
            for listener in role.sockets:
                listener.close()

    def _on_hangup(self, number: int, frame: object) -> None:
        self._tell(signal.SIGHUP)

    def _tell(self, number: signal.Signals) -> None:
        for pid in list(self._children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _live(config: Config, role: Role, line: int, parent: int) -> int:
    """The child's life. Returns its exit status."""
    _die_with(parent)

    async def main() -> None:
        ready, stop = asyncio.Event(), asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        serving = asyncio.ensure_future(role.serve(config, role.sockets, ready, stop))
        getting_ready = asyncio.ensure_future(ready.wait())
        await asyncio.wait({serving, getting_ready}, return_when=asyncio.FIRST_COMPLETED)
        if ready.is_set():
            os.write(line, _READY)
        await serving

    try:
        asyncio.run(main())
    except Exception:  # noqa: BLE001  the outermost: the supervisor starts this role again
        log.fault(role.name, "start")
        return 1
    return 0


def _die_with(parent: int) -> None:
    """Linux ends this process with its parent, so that a killed supervisor leaves nobody behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
