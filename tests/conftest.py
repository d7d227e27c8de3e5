"""Servers that many tests share: one of each kind for a test process."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.stage import Waypost
from tests.upstream import Upstream

# A machine under load is slow, not wrong. CI plays the same examples every time; at a desk they are new ones.
settings.register_profile("waypost", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("waypost")


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    yield server
    server.close()


@pytest.fixture(scope="session")
def relay(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waypost]:
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
