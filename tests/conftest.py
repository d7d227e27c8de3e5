"""Servers that many tests share: one of each kind for a test process."""

import gc
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import argon2
import httpx
import pytest
from hypothesis import settings

from relay.store.console import accounts
from relay.store.store import Store
from tests import postgresql_server, sqlite_file
from tests.return_path.return_path_scene import scene as scene
from tests.upstream import ScriptedUpstream
from tests.waiting import MAX_WAIT_S
from tests.waypost_server import Waypost

# A machine under load is slow, not wrong. Examples are the same every time; `make fuzz` has new ones.
settings.register_profile("waypost", deadline=None, derandomize=True)
settings.load_profile("waypost")
# httpx keeps an idle connection for 5 s, as the server does, and could use it at the very moment at which it is closed.
httpx._config.DEFAULT_LIMITS.keepalive_expiry = 2.0
# And it waits for 5 s where nothing else is said: a busy machine took longer.
for _what in ("connect", "read", "write", "pool"):
    setattr(httpx._config.DEFAULT_TIMEOUT_CONFIG, _what, MAX_WAIT_S)
# Each client read the certificates of the authorities anew: that took a seventh of the suite's processor time.
httpx._transports.default.create_ssl_context = cache(httpx._config.create_ssl_context)  # type: ignore[attr-defined]
# Passwords took another twentieth; what is written down says how dear it was to make, so that both kinds are read.
accounts._HASHER = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
# Modules and tests stay in memory to the end: each full collection of garbage looked at them, for a fifth of the
# suite's processor time.
gc.disable()
_LONG = ("tests/web/test_api_schema.py", "tests/web/test_browser.py", "tests/faults/")  # the longest of all first
# Hypothesis lets nobody change a test's settings from outside; this is where it looks them up.
_SETTINGS = "_hypothesis_internal_use_settings"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests come first, so that at the end no process waits for one of them. On PostgreSQL, tests of
    SQLite's file are skipped. With `make fuzz` each property has so many times the examples that it has here, its own
    number of them or the usual one."""
    items.sort(key=lambda item: [item.nodeid.startswith(one) for one in _LONG], reverse=True)
    if postgresql_server.IS_POSTGRESQL:
        for item in items:
            if item.get_closest_marker("sqlite"):
                item.add_marker(pytest.mark.skip(reason="about SQLite's file"))
    factor = int(os.environ.get("WAYPOST_FUZZ", "1"))
    for item in items if factor > 1 else ():
        test = getattr(item, "obj", None)
        if own := getattr(test, _SETTINGS, None):
            setattr(test, _SETTINGS, settings(own, max_examples=factor * own.max_examples, derandomize=False))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """What is in memory before the first test is no garbage; what tests leave is looked for seldom."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 10)
    gc.enable()


@pytest.fixture(scope="session")
def upstream() -> Iterator[ScriptedUpstream]:
    server = ScriptedUpstream()
    yield server
    server.close()


@pytest.fixture(scope="session")
def relay(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waypost]:
    """A relay in its default mode (inline), in front of the scripted upstream. Retries come after a second."""
    folder: Path = tmp_path_factory.mktemp("relay")
    tables = '[delivery]\nretry = ["1s"]\ninline_timeout = "2s"\n'
    with Waypost(folder, upstream.port, tables) as running:
        yield running


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waypost]:
    """A relay without an upstream."""
    with Waypost(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@pytest.fixture
def postgresql() -> Callable[[], str]:
    """Each call makes an empty database on a PostgreSQL server of our own, and returns its URL."""
    postgresql_server.server()
    return postgresql_server.make_database


@pytest.fixture
def postgresql_with_tables() -> Callable[[], str]:
    """The same with the tables that a first start makes, and no rows."""
    postgresql_server.server()
    return postgresql_server.make_database_with_tables


@pytest.fixture(params=["sqlite", "postgresql"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store, of each kind of database."""
    if request.param == "sqlite":
        url = sqlite_file.make_database_with_tables(tmp_path)
    else:
        url = request.getfixturevalue("postgresql_with_tables")()
    one = Store(url, tmp_path)
    yield one
    one.close()
    if request.param == "postgresql":
        postgresql_server.drop_database(url)
