"""One web side for each test file; a test that needs another configuration makes its own."""

from collections.abc import Iterator

import pytest

from tests.web.scene import Scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Scene(tmp_path_factory.mktemp("web")) as running:
        yield running
