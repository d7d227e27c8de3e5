"""A key that somebody else may have had is revoked: what hangs on it ends, and nothing else."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from time import time

import httpx
import pytest

from relay.store.console import accounts
from tests.return_path.return_path_scene import DEAD, DOMAIN, ReturnPathScene, dsn, reverse_path
from tests.upstream import ScriptedUpstream
from tests.waiting import until
from tests.waypost_server import Waypost, html_mail, tracking_urls


@pytest.fixture
def leaked(upstream: ScriptedUpstream, tmp_path: Path) -> Iterator[ReturnPathScene]:
    tables = (
        f'[delivery]\nretry = ["1s"]\n[bounces]\nreturn_path = "{DOMAIN}"\n[privacy]\nmode = "pseudonymous"\n'
        "[access]\nnetworks = []\n"
        f'[[access.user]]\nname = "app"\npassword_hash = "{accounts.hash_password("secret")}"\n'
    )
    with Waypost(tmp_path, upstream.port, tables) as relay:
        yield ReturnPathScene(relay, upstream)


def becomes(url: str, status: int) -> httpx.Response:
    """Its answer, once a running server has seen what was done to the keys."""
    return until(lambda: httpx.get(url), fits=lambda answer: answer.status_code == status, every_s=0.2)


def token_key(url: str) -> int:
    return base64.urlsafe_b64decode(url.rpartition("/")[2][:4])[1]


def test_a_revoked_key_ends_its_links_and_addresses_and_no_others(leaked: ReturnPathScene) -> None:
    relay = leaked.relay
    header = html_mail(header="X-Waypost-Stream: news\r\n")
    before = leaked.sent("before.keys@example.com", header)
    old = tracking_urls(before.octets)
    assert httpx.post(old["u"][0], data={"List-Unsubscribe": "One-Click"}).status_code == 200
    posted = int(time())
    until(lambda: int(time()) > posted)  # the key file has seconds
    relay.cli("keys", "rotate")
    after = until(  # a server takes a new key up within seconds
        lambda: leaked.sent("after.keys@example.com"),
        fits=lambda arrival: token_key(tracking_urls(arrival.octets)["c"][0]) == 2,
        every_s=0.3,
    )
    first, second = relay.rows("keys", "list")
    assert (first["id"], first["signs"], first["uses"][0]) == (1, False, "return path") and first["messages"] >= 1
    assert (second["id"], second["signs"], second["uses"]) == (2, True, []) and second["messages"] >= 1

    warning = relay.cli("keys", "revoke", "1", status=1).decode()
    assert "links in " in warning and "bounces and complaints" in warning and "say --yes" in warning
    assert httpx.get(old["c"][0]).status_code == 302  # nothing happened
    assert relay.cli("keys", "revoke", "1", "--yes") == b"key 1 is revoked; key 2 signs\n"
    # What it signed is not counted as another's.
    assert [(row["id"], row["messages"]) for row in relay.rows("keys", "list")] == [(2, second["messages"]), (1, 0)]

    assert "<html" in becomes(old["c"][0], 404).text
    assert httpx.get(old["o"][0]).status_code == 200  # an image, always
    assert relay.cli("token", "read", old["c"][0], status=1)
    assert leaked.comes(reverse_path(before), dsn("before.keys@example.com", "5.1.1", DEAD)).startswith("550 5.1.1")
    new = leaked.sent("new.keys@example.com")
    assert becomes(tracking_urls(new.octets)["c"][0], 302)
    assert leaked.comes(reverse_path(new), dsn("new.keys@example.com", "5.1.1", DEAD)).startswith("250")
    assert httpx.get(tracking_urls(after.octets)["c"][0]).status_code == 302
    # Who left stays away: pseudonyms keep their key, and nothing else of it is left in the file.
    leaked.relay.events("unsubscribed", relay.rows("suppressions", "list", "before.keys@example.com")[0]["address"])
    with relay.client() as app:
        app.login("app", "secret")
        app.sendmail("app@sender.test", ["before.keys@example.com"], header)
    assert len(leaked.upstream.to("before.keys@example.com")) == 1
    written = json.loads((relay.folder / "data" / "keys.json").read_text())
    assert [key["id"] for key in written["keys"]] == [2] and list(written["lasting"]) == ["people"]
    assert set(written["revoked"][0]) == {"id", "created", "revoked"}


def test_the_key_that_signs_is_followed_by_a_new_one_with_a_new_id(tmp_path: Path) -> None:
    relay = Waypost(tmp_path)
    relay.cli("keys", "rotate")
    assert relay.cli("keys", "revoke", "2", "--yes") == b"key 2 is revoked; key 3 signs\n"
    assert relay.cli("keys", "revoke", "3", "--yes") == b"key 3 is revoked; key 4 signs\n"
    assert relay.cli("keys", "revoke", "1", "--yes") == b"key 1 is revoked; key 4 signs\n"
    assert relay.cli("keys", "revoke", "4", "--yes") == b"key 4 is revoked; key 5 signs\n"
    assert b"there is no key 4" in relay.cli("keys", "revoke", "4", "--yes", status=1)
    rows = relay.rows("keys", "list")
    assert [row["id"] for row in rows] == [5, 2, 3, 1, 4]
    assert all(row["revoked_at"].startswith("20") for row in rows[1:])
    relay.cli("keys", "rotate")
    assert relay.rows("keys", "list")[0]["id"] == 5


def test_exported_keys_let_another_machine_answer_links(tmp_path: Path) -> None:
    first, second = Waypost(tmp_path / "first"), Waypost(tmp_path / "second")
    sealed = tmp_path / "keys.sealed"
    assert b"wrote" in first.cli("keys", "export", str(sealed), stdin=b"a long passphrase\n")
    assert sealed.stat().st_mode & 0o777 == 0o600
    secret = json.loads((tmp_path / "first/data/keys.json").read_text())["keys"][0]["secret"]
    assert secret not in sealed.read_text()
    assert b"another passphrase" in second.cli("keys", "import", str(sealed), stdin=b"a wrong one\n", status=1)
    assert not (tmp_path / "second/data/keys.json").exists()
    assert b"imported 1 key" in second.cli("keys", "import", str(sealed), stdin=b"a long passphrase\n")
    assert (tmp_path / "second/data/keys.json").read_bytes() == (tmp_path / "first/data/keys.json").read_bytes()

    first.cli("keys", "rotate")
    again = first.cli("keys", "export", stdin=b"a long passphrase\n")
    sealed.write_bytes(again)
    assert b"imported 2 keys; key 2 signs" in second.cli("keys", "import", str(sealed), stdin=b"a long passphrase\n")


def test_an_import_does_not_end_links_nor_bring_back_what_was_revoked(tmp_path: Path) -> None:
    first, second = Waypost(tmp_path / "first"), Waypost(tmp_path / "second")
    sealed = tmp_path / "keys.sealed"
    first.cli("keys", "export", str(sealed), stdin=b"a long passphrase\n")
    second.cli("keys", "list")
    own = (tmp_path / "second/data/keys.json").read_bytes()
    said = second.cli("keys", "import", str(sealed), stdin=b"a long passphrase\n", status=1)
    assert b"is here and not in the file" in said and b"--replace" in said
    assert (tmp_path / "second/data/keys.json").read_bytes() == own
    second.cli("keys", "import", str(sealed), "--replace", stdin=b"a long passphrase\n")
    (aside,) = (tmp_path / "second/data").glob("keys-replaced-*.json")
    assert aside.read_bytes() == own
    first.cli("keys", "rotate")
    first.cli("keys", "export", str(sealed), stdin=b"a long passphrase\n")
    first.cli("keys", "revoke", "1", "--yes")
    said = first.cli("keys", "import", str(sealed), stdin=b"a long passphrase\n", status=1)
    assert b"was revoked here" in said


@pytest.mark.parametrize("octets", [b"", b"{}", b"\xff", b'{"waypost_keys": 1, "salt": "x"}', b'{"waypost_keys": 9}'])
def test_what_is_no_export_is_refused(octets: bytes, tmp_path: Path) -> None:
    (tmp_path / "keys.sealed").write_bytes(octets)
    relay = Waypost(tmp_path / "relay")
    assert relay.cli("keys", "import", str(tmp_path / "keys.sealed"), stdin=b"a long passphrase\n", status=1)


def test_a_short_passphrase_is_refused(tmp_path: Path) -> None:
    assert b"8 characters" in Waypost(tmp_path).cli("keys", "export", stdin=b"short\n", status=1)
