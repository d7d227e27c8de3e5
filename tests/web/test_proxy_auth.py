"""Sign-in by a proxy that authenticates.

Always: its header is believed from its own addresses only, and who cannot be believed gets no session.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from relay.store.console import accounts, audit_log
from relay.store.console.audit_log import AuditFilter
from tests.web.scene import NAME, PASSWORD, Scene, csrf


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    proxy = {
        "header": "X-Forwarded-User",
        "networks": ["127.0.0.9/32"],
        "role_header": "X-Forwarded-Role",
        "sign_out_url": "/oauth2/sign_out",
    }
    given: dict[str, Any] = {"console": {"proxy_auth": proxy}}  # Any: tables of the configuration
    with Scene(tmp_path_factory.mktemp("proxy"), given) as running:
        running.write(lambda connection: accounts.set_password(connection, NAME, PASSWORD, datetime.now(UTC)))
        yield running


def through(scene: Scene, source: str, **headers: str) -> httpx.Client:
    """A client whose connections come from that address."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    transport = httpx.HTTPTransport(local_address=source)
    return httpx.Client(base_url=scene.console, headers=fields, transport=transport)


def test_the_proxy_says_who_it_is_and_what_they_may_do(scene: Scene) -> None:
    with through(scene, "127.0.0.9", x_forwarded_user="carol", x_forwarded_role="Operator") as carol:
        page = carol.get("/queue")
        assert page.status_code == 200 and ">carol</a>" in page.text
        assert 'href="/oauth2/sign_out">Sign out' in page.text
        assert carol.get("/settings").status_code == 403
        said = carol.post("/suppressions", data={"csrf": csrf(page), "address": "x@example.com"}, follow_redirects=True)
        assert "x@example.com gets no more mail" in said.text
        assert carol.post("/suppressions", data={"address": "x@example.com"}).status_code == 403  # without the token
    entry = scene.read(lambda connection: audit_log.list_entries(connection, AuditFilter(by="carol"), 1)).items[0]
    assert (entry["action"], entry["by"], entry["origin"]) == ("suppression.add", "carol", "127.0.0.9")


def test_without_a_role_an_account_of_that_name_has_its_own_and_others_may_read(scene: Scene) -> None:
    with through(scene, "127.0.0.9", x_forwarded_user=NAME) as known:
        assert known.get("/settings").status_code == 200
    for role in ("", "owner", "admin, viewer"):
        with through(scene, "127.0.0.9", x_forwarded_user="dave", x_forwarded_role=role) as dave:
            assert dave.get("/").status_code == 200 and dave.post("/queue").status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"x_forwarded_user": NAME, "x_forwarded_role": "admin"},
        {"x_forwarded_user": NAME, "x_forwarded_for": "127.0.0.9"},
        {"x_forwarded_user": NAME, "x_real_ip": "127.0.0.9", "forwarded": "for=127.0.0.9"},
    ],
)
def test_from_elsewhere_the_header_is_as_if_it_were_not_there(scene: Scene, headers: dict[str, str]) -> None:
    for source in ("127.0.0.1", "127.0.0.8"):
        with through(scene, source, **headers) as stranger:
            assert stranger.get("/").headers["location"] == "/login?next=/"
            stranger.post("/login", data={"name": NAME, "password": PASSWORD})  # the password counts all the same
            assert stranger.get("/settings").status_code == 200


@pytest.mark.parametrize("names", [["a", "b"], [""], ["x" * 201], ["a\tb"]])
def test_a_header_that_names_nobody_or_several_is_not_believed(scene: Scene, names: list[str]) -> None:
    with through(scene, "127.0.0.9") as proxy:
        answer = proxy.get("/", headers=[("x-forwarded-user", name) for name in names])
        assert answer.status_code == 303
