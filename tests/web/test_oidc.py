"""Sign-in by an OpenID provider.

Always: who cannot be believed gets no session, and learns no more than that.
"""

import importlib
import itertools
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from relay.config import load
from relay.config.load import ConfigError
from relay.config.schema import Config
from relay.config.sign_in import OidcConfig
from relay.node.diagnosis import openid_provider
from relay.store.console import accounts, audit_log, console_sessions
from relay.store.console.audit_log import AuditFilter
from relay.store.console.roles import AccountRole
from tests.web.scene import NAME, PASSWORD, Scene, csrf

pytest.importorskip("authlib", reason="needs authlib: pip install '.[test]'")
oidc_provider = importlib.import_module("tests.web.oidc_provider")
oidc = importlib.import_module("web.console.oidc")
_NETWORKS = itertools.count()
Provider = Any  # Any: the module may be missing
ANN = {
    "sub": "u-1",
    "email": "Ann@example.com",
    "email_verified": True,
    "groups": ["staff", "mail-admins"],
    "preferred_username": "ann",
}


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with oidc_provider.OidcProvider() as running:
        yield running


@pytest.fixture(autouse=True)
def honest(provider: Provider) -> None:
    provider.user, provider.more, provider.tampered = dict(ANN), {}, {}
    provider.metadata, provider.signs_with = {}, provider.key


@pytest.fixture(scope="module")
def scene(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    table = {
        "issuer": provider.issuer,
        "client_id": oidc_provider.CLIENT_ID,
        "client_secret": oidc_provider.CLIENT_SECRET,
        "name": "Example",
        "viewers": ["@example.com"],
        "operators": ["mail-operators"],
        "admins": ["mail-admins"],
    }
    proxy = {"header": "X-Forwarded-User", "networks": ["127.0.0.9/32"]}  # both may be there
    given: dict[str, Any] = {"console": {"oidc": table, "proxy_auth": proxy}}
    with Scene(tmp_path_factory.mktemp("oidc"), given) as running:
        running.write(lambda connection: accounts.set_password(connection, NAME, PASSWORD, datetime.now(UTC)))
        yield running


@pytest.fixture
def browser(scene: Scene, provider: Provider) -> Iterator[httpx.Client]:
    """A browser that nobody is signed in with."""
    with client_from_elsewhere(scene) as client:
        yield client


def client_from_elsewhere(scene: Scene) -> httpx.Client:
    """A browser in a network of its own, behind a proxy on this machine: failures are counted by network."""
    headers = {"x-forwarded-for": f"198.18.{next(_NETWORKS)}.7"}
    return httpx.Client(base_url=scene.console, headers=headers)


def sign_in(browser: httpx.Client, path: str = "/login/oidc") -> httpx.Response:
    """The way to the provider and back; the console's answer to the way back."""
    there = browser.get(path)
    assert there.status_code == 302, there.text
    back = httpx.get(there.headers["location"])
    return browser.get(back.headers["location"])


def roles(scene: Scene) -> dict[str, str]:
    return {row["name"]: row["role"] for row in scene.read(accounts.list_accounts)}


def test_who_is_in_a_group_signs_in_with_its_role_and_gets_where_they_wanted(
    scene: Scene, browser: httpx.Client, provider: Provider
) -> None:
    form = browser.get("/messages?q=x", follow_redirects=True)
    assert "Sign in with Example" in form.text
    [link] = re.findall(r'href="(/login/oidc\?[^"]+)"', form.text)
    answer = sign_in(browser, link)
    assert (answer.status_code, answer.headers["location"]) == (303, "/messages?q=x")
    assert browser.get("/settings").status_code == 200
    assert roles(scene)["ann@example.com"] == "admin"
    [session] = scene.read(
        lambda connection: console_sessions.list_sessions(connection, datetime.now(UTC), "ann@example.com")
    )
    assert session["expires_at"] - session["created_at"] == timedelta(hours=12)
    page = scene.read(lambda connection: audit_log.list_entries(connection, AuditFilter(), 1))
    assert (page.items[0]["action"], page.items[0]["detail"]) == ("session.start", "admin, by Example")
    known = provider.asked.count("/.well-known/openid-configuration")
    sign_in(browser)
    assert provider.asked.count("/.well-known/openid-configuration") == known  # it is read once


def test_another_tab_does_not_end_a_sign_in_that_is_under_way(scene: Scene, browser: httpx.Client) -> None:
    there = browser.get("/login/oidc")
    assert browser.get("/messages").status_code == 303
    back = httpx.get(there.headers["location"])
    assert browser.get(back.headers["location"]).status_code == 303
    assert browser.get("/").status_code == 200


def test_the_role_is_what_the_provider_says_at_each_sign_in(
    scene: Scene, browser: httpx.Client, provider: Provider
) -> None:
    sign_in(browser)
    provider.user |= {"groups": ["mail-operators"], "email": "ann@renamed.example"}
    assert sign_in(browser).status_code == 303
    assert roles(scene)["ann@example.com"] == "operator"  # the account's name stays
    assert browser.get("/settings").status_code == 403
    provider.user |= {"groups": []}
    refused = sign_in(browser)
    assert refused.status_code == 403 and "neither your groups nor your address" in refused.text


def test_groups_may_come_from_the_userinfo_endpoint(scene: Scene, browser: httpx.Client, provider: Provider) -> None:
    provider.user = {"sub": "u-2"}
    provider.more = {"groups": "mail-operators", "preferred_username": "bob"}
    assert sign_in(browser).status_code == 303
    assert roles(scene)["bob"] == "operator"
    provider.more = {"sub": "u-1", "groups": ["mail-admins"]}
    assert sign_in(browser).status_code == 401


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({"groups": ["a", "b"]}, AccountRole.ADMIN),
        ({"groups": "a"}, AccountRole.OPERATOR),
        ({"groups": ["A"]}, None),
        ({"groups": {"a": 1}}, None),
        ({"email": "eve@b.example", "email_verified": True}, AccountRole.VIEWER),
        ({"email": "Eve@B.Example", "email_verified": True}, AccountRole.VIEWER),
        ({"email": "eve@b.example"}, None),  # anybody can write that into their profile
        ({"email": "eve@b.example", "email_verified": "true"}, None),
        ({"email": "eve@xb.example", "email_verified": True}, None),
        ({"email": "boss@c.example", "email_verified": True}, AccountRole.ADMIN),
        ({"email": ["boss@c.example"], "email_verified": True}, None),
        ({}, None),
    ],
)
def test_a_role_follows_from_groups_and_verified_addresses(claims: dict[str, Any], role: AccountRole | None) -> None:
    config = OidcConfig(viewers=["@b.example"], operators=["a"], admins=["b", "Boss@c.example"])
    assert oidc.find_role(claims, config) is role


@pytest.mark.parametrize(
    "lie",
    [
        {"nonce": "another"},
        {"aud": "another client"},
        {"aud": ["another client", "waypost"], "azp": "another client"},
        {"iss": "https://elsewhere.example"},
        {"exp": 1},
        {"sub": ""},
        {"sub": None},
    ],
    ids=lambda lie: "-".join(lie),
)
def test_a_token_that_is_not_for_us_here_and_now_is_refused(
    scene: Scene, browser: httpx.Client, provider: Provider, lie: dict[str, Any]
) -> None:
    provider.tampered = lie
    answer = sign_in(browser)
    assert answer.status_code == 401 and "could not be accepted" in answer.text
    assert browser.get("/").status_code == 303


def test_a_token_that_somebody_else_signed_is_refused(scene: Scene, browser: httpx.Client, provider: Provider) -> None:
    key = type(provider.key)
    provider.signs_with = key.generate_key(2048, {"kid": "one"}, auto_kid=False)
    assert sign_in(browser).status_code == 401
    assert browser.get("/").status_code == 303


def test_an_answer_that_this_browser_did_not_ask_for_is_refused(browser: httpx.Client, scene: Scene) -> None:
    there = browser.get("/login/oidc")
    back = httpx.get(there.headers["location"]).headers["location"]
    with client_from_elsewhere(scene) as victim:
        assert victim.get(back).status_code == 401  # a stranger's code in the victim's browser
        assert victim.get("/").status_code == 303
    assert browser.get("/login/oidc/callback?error=access_denied&state=x").status_code == 401
    assert browser.get(re.sub("state=[^&]+", "state=other", back)).status_code == 401


def test_nobody_takes_over_an_account_that_has_a_password(
    scene: Scene, browser: httpx.Client, provider: Provider
) -> None:
    provider.user = {"sub": "u-9", "groups": ["mail-admins"], "preferred_username": NAME}
    answer = sign_in(browser)
    assert answer.status_code == 403 and f"There is another account named {NAME}" in answer.text
    assert browser.get("/").status_code == 303
    provider.user |= {"sub": "u-1"}  # and who has an account keeps it
    provider.user |= ANN
    assert sign_in(browser).status_code == 303


def test_who_goes_on_failing_is_stopped_and_others_are_not(scene: Scene, browser: httpx.Client) -> None:
    codes = [browser.get("/login/oidc/callback?code=x&state=y").status_code for _ in range(12)]
    assert codes[0] == 401 and codes[-1] == 429
    with client_from_elsewhere(scene) as other:
        assert sign_in(other).status_code == 303


@pytest.mark.parametrize("password", ["", "nobody", "x" * 2000])
def test_an_account_of_the_provider_has_no_password(scene: Scene, browser: httpx.Client, password: str) -> None:
    sign_in(browser)
    answer = httpx.post(f"{scene.console}/login", data={"name": "ann@example.com", "password": password})
    assert answer.status_code == 401


def test_signing_out_offers_the_providers_own_sign_out(scene: Scene, browser: httpx.Client, provider: Provider) -> None:
    sign_in(browser)
    out = browser.post("/logout", data={"csrf": csrf(browser.get("/"))}, follow_redirects=True)
    assert "Sign out there too" in out.text
    assert browser.get("/").status_code == 303
    answer = browser.get("/login/oidc/out")
    assert answer.headers["location"] == f"{provider.issuer}/out?client_id=waypost"


def test_a_provider_that_is_away_or_is_another_one_is_said(tmp_path: Path, provider: Provider) -> None:
    table = {"issuer": "http://127.0.0.1:1", "client_id": "x", "admins": ["*"]}
    with Scene(tmp_path, {"console": {"oidc": table}}) as scene:
        answer = httpx.get(f"{scene.console}/login/oidc")
        assert answer.status_code == 502 and "does not answer" in answer.text
    provider.metadata = {"issuer": "https://elsewhere.example"}
    (tmp_path / "two").mkdir()
    with Scene(tmp_path / "two", {"console": {"oidc": table | {"issuer": provider.issuer}}}) as scene:
        assert httpx.get(f"{scene.console}/login/oidc").status_code == 401


def test_without_a_provider_there_is_no_such_page(tmp_path: Path) -> None:
    with Scene(tmp_path) as scene:
        assert "single sign-on" not in httpx.get(f"{scene.console}/login").text
        for path in ("/login/oidc", "/login/oidc/callback?code=x&state=y", "/login/oidc/out"):
            assert httpx.get(scene.console + path).status_code == 404


# --- the configuration


def test_doctor_asks_the_provider_and_says_what_is_wrong(provider: Provider) -> None:
    def findings(**more: Any) -> list[tuple[str, str]]:  # Any: keys of the table
        table = {"issuer": provider.issuer, "client_id": "x", "admins": ["a"]} | more
        config = Config.model_validate({"console": {"oidc": table}})
        return [(str(one.level).lower(), one.detail) for one in openid_provider.check_provider(config)]

    assert findings() == [("ok", "answers")]
    provider.metadata = {"scopes_supported": ["openid", "profile", "email"]}
    assert findings(scopes=["openid", "groups"])[1] == ("note", "does not offer the scope groups")
    provider.metadata = {"issuer": "https://elsewhere.example"}
    assert findings() == [("fail", "calls itself https://elsewhere.example")]
    provider.metadata = {"token_endpoint": ""}
    assert findings()[0][1] == "its discovery document lacks token_endpoint"
    [(level, detail)] = findings(issuer="http://127.0.0.1:1")
    assert level == "fail" and "no discovery document" in detail
    assert list(openid_provider.check_provider(Config())) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[console.oidc]\nissuer = "https://a.example"', "client_id is not"),
        ('[console.oidc]\nissuer = "https://a.example"\nclient_id = "x"', "nobody may sign in"),
        ('[console.oidc]\nissuer = "http://a.example"\nclient_id = "x"\nadmins = ["a"]', "must be an https address"),
        ('[console.proxy_auth]\nheader = "X-User"', "networks is not"),
        ('[console.proxy_auth]\nheader = "X User"\nnetworks = ["10.0.0.1"]', "name of a header field"),
        ('[console.proxy_auth]\nrole_header = "X-Role"', "header is not"),
    ],
)
def test_half_a_configuration_is_a_fault(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(ConfigError, match=expected):
        load.load(tmp_path / "config.toml", {})


def test_the_keys_may_come_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the client\n")
    given = {
        "WAYPOST_CONSOLE__OIDC__ISSUER": "https://a.example/",
        "WAYPOST_CONSOLE__OIDC__CLIENT_ID": "x",
        "WAYPOST_CONSOLE__OIDC__CLIENT_SECRET_FILE": str(tmp_path / "secret"),
        "WAYPOST_CONSOLE__OIDC__ADMINS": '["mail-admins"]',
        "WAYPOST_CONSOLE__LISTEN": "127.0.0.1:9",
    }
    table = load.load(None, given).console
    assert (table.oidc.issuer, table.oidc.client_secret.get_secret_value()) == ("https://a.example", "of the client")
    assert table.oidc.admins == ["mail-admins"] and table.listen.port == 9
    with pytest.raises(ConfigError, match="WAYPOST_CONSOLE__OIDC__ISUER: unknown key"):
        load.load(None, {"WAYPOST_CONSOLE__OIDC__ISUER": "x"})
