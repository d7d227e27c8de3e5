"""One web side for each test file; a test that needs another configuration makes its own."""

from collections.abc import Iterator

import httpx
import pytest

from tests.web.api_client import ApiClient
from tests.web.scene import Scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Scene(tmp_path_factory.mktemp("web")) as running:
        yield running


@pytest.fixture(scope="module")
def browser(scene: Scene) -> Iterator[httpx.Client]:
    """Signed in at the console."""
    with scene.sign_in() as client:
        yield client


@pytest.fixture(scope="module")
def api(scene: Scene) -> Iterator[ApiClient]:
    """With a key for everything."""
    with ApiClient(scene) as client:
        yield client
