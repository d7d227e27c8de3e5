"""What an operator would not notice otherwise is said: in the log, by `check`, or by a refusal to start."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from relay.config import load, settings_list
from relay.store.console import accounts
from tests.fork_server import IMPORT_PATH
from tests.rewrite.keys import ED25519
from tests.waypost_server import Waypost, free_port, html_mail

PRIVATE_KEY = ED25519.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
PASSWORD_HASH = accounts.hash_password("right")


def faults(path: Path, text: str | bytes, environment: dict[str, str] | None = None) -> list[str]:
    """What is wrong with that configuration."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        load.load(path, environment or {})
    except load.ConfigError as error:
        return [line.replace(f"{path}: ", "") for line in error.faults]
    return []


@pytest.mark.parametrize("upstream", [{}, {"WAYPOST_UPSTREAM__ADDRESS": "127.0.0.1:9"}], ids=["sandbox", "upstream"])
def test_a_start_as_a_sandbox_without_a_configuration_file_says_so(upstream: dict[str, str], tmp_path: Path) -> None:
    ports = {f"WAYPOST_{key}": f"127.0.0.1:{free_port()}" for key in ("LISTEN__ADDRESS", "CONSOLE__LISTEN")}
    ports["WAYPOST_TRACKING__LISTEN"] = f"127.0.0.1:{free_port()}"
    environment = {**os.environ, **ports, **upstream, "PYTHONPATH": IMPORT_PATH, "WAYPOST_TRACKING_OPENS": "false"}
    command = [sys.executable, "-m", "relay", "serve"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline().startswith("ready ")
        server.send_signal(signal.SIGTERM)
        _, log = server.communicate(timeout=60)
    assert (f"warning no-configuration path={tmp_path / 'config.toml'}" in log) is not bool(upstream)
    assert "warning variable-ignored name=WAYPOST_TRACKING_OPENS" in log


def test_a_start_says_which_file_it_read(sandbox: Waypost) -> None:
    assert f"info configuration path={sandbox.config}" in sandbox.read_log()


def test_new_keys_beside_mail_that_others_signed_are_refused_unless_they_are_wanted(tmp_path: Path) -> None:
    relay = Waypost(tmp_path)
    with relay:
        assert relay.send(html_mail(), "ann@example.com").startswith("250")
    keys = tmp_path / "data/keys.json"
    keys.rename(tmp_path / "lost")
    for words in (("messages",), ("keys", "list"), ("keys", "rotate")):
        assert b"keys.json is gone, and the database has mail whose links" in relay.cli(*words, status=1)
    with pytest.raises(AssertionError, match="serve --new-keys"):
        relay.start()
    assert not keys.exists()
    relay.start("--new-keys")
    relay.stop()
    assert keys.read_bytes() != (tmp_path / "lost").read_bytes()
    assert relay.read_log().count("warning keys-made") == 1


def test_the_first_password_can_be_given_and_is_shown_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("chosen beforehand\n")
    relay = Waypost(tmp_path)
    text = relay.config.read_text().replace("[console]\n", '[console]\nadmin_password = { file = "secret" }\n')
    relay.config.write_text(text)
    with relay:
        form = {"name": "admin", "password": "chosen beforehand"}
        assert httpx.post(f"{relay.console}/login", data=form).status_code == 303
    assert "chosen beforehand" not in relay.read_log() and "first account" not in relay.read_log()
    assert not (tmp_path / "data/first-password").exists()


def test_a_secret_can_be_named_by_a_variable_that_ends_in_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("chosen beforehand\n")
    (tmp_path / "config.toml").write_text("")
    variables = {
        "WAYPOST_CONSOLE__ADMIN_PASSWORD_FILE": str(tmp_path / "secret"),
        "WAYPOST_UPSTREAM__ADDRESS": "127.0.0.1:25",
        "WAYPOST_UPSTREAM__CA_FILE": str(tmp_path / "secret"),
    }
    config = load.load(tmp_path / "config.toml", variables)
    assert config.console.admin_password.get_secret_value() == "chosen beforehand"
    assert config.upstream[0].ca_file == tmp_path / "secret"
    short = faults(tmp_path / "config.toml", "", {"WAYPOST_CONSOLE__ADMIN_PASSWORD": "short"})
    assert short == ["environment: WAYPOST_CONSOLE__ADMIN_PASSWORD: must have 8 characters or more"]


def test_a_variable_with_a_number_is_of_that_table_of_a_list(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the second\n")
    file = tmp_path / "config.toml"
    file.write_text(
        '[[upstream]]\nname = "one"\naddress = "127.0.0.1:25"\n[[upstream]]\nname = "two"\naddress = "127.0.0.1:26"\n'
    )
    variables = {
        "WAYPOST_UPSTREAM__PASSWORD": "of the first",
        "WAYPOST_UPSTREAM__2__USERNAME": "ann",
        "WAYPOST_UPSTREAM__2__PASSWORD_FILE": str(tmp_path / "secret"),
        "WAYPOST_UPSTREAM__3__ADDRESS": "127.0.0.1:27",
        "WAYPOST_UPSTREAM__3__NAME": "three",
        "WAYPOST_LISTEN__2__ADDRESS": "127.0.0.1:2526",
    }
    config = load.load(file, {**variables, "WAYPOST_LISTEN__ADDRESS": "127.0.0.1:2525"})
    assert [one.name for one in config.upstream] == ["one", "two", "three"]
    assert [one.username for one in config.upstream] == ["", "ann", ""]
    passwords = [one.password.get_secret_value() for one in config.upstream]
    assert passwords == ["of the first", "of the second", ""]
    assert [one.address.port for one in config.listen] == [2525, 2526]
    found = faults(tmp_path / "c.toml", "", {"WAYPOST_UPSTREAM__2__ADRESS": "127.0.0.1:25"})
    wrong = "environment: WAYPOST_UPSTREAM__2__ADRESS: unknown key, did you mean 'address'?"
    assert found == ["[[upstream]] #1 address: is required", "[[upstream]] #2 address: is required", wrong]


def test_accounts_and_signing_keys_are_reached_by_variables_too(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(PRIVATE_KEY)
    file = tmp_path / "config.toml"
    file.write_text(f'[[access.user]]\nname = "shop"\npassword_hash = "{PASSWORD_HASH}"\n')
    variables = {
        "WAYPOST_ACCESS__USER__STREAM": "orders",
        "WAYPOST_ACCESS__USER__2__NAME": "blog",
        "WAYPOST_ACCESS__USER__2__PASSWORD_HASH": PASSWORD_HASH,
        "WAYPOST_ACCESS__USER__2__SENDERS": '["@blog.example"]',
        "WAYPOST_DKIM__KEY__DOMAIN": "one.example",
        "WAYPOST_DKIM__KEY__SELECTOR": "first",
        "WAYPOST_DKIM__KEY__PRIVATE_KEY_FILE": str(tmp_path / "key.pem"),
        "WAYPOST_DKIM__KEY__2__DOMAIN": "two.example",
        "WAYPOST_DKIM__KEY__2__SELECTOR": "second",
        "WAYPOST_DKIM__KEY__2__PRIVATE_KEY": PRIVATE_KEY.decode(),
    }
    config = load.load(file, variables)
    assert [(one.name, one.stream) for one in config.access.user] == [("shop", "orders"), ("blog", "")]
    assert [str(one) for one in config.access.user[1].senders] == ["@blog.example"]
    assert [(one.domain, one.selector) for one in config.dkim.key] == [
        ("one.example", "first"),
        ("two.example", "second"),
    ]
    origins = {
        (table.name, one.key): one.origin
        for table in settings_list.list_settings(config, variables)
        for one in table.settings
    }
    assert origins["[[access.user]] #2", "name"] == "WAYPOST_ACCESS__USER__2__NAME"
    assert origins["[[dkim.key]] #1", "private_key"] == "WAYPOST_DKIM__KEY__PRIVATE_KEY_FILE"
    found = faults(tmp_path / "c.toml", "", {"WAYPOST_ACCESS__USER__2__NAMES": "x", "WAYPOST_ACCESS__USER__2": "y"})
    assert "environment: WAYPOST_ACCESS__USER__2__NAMES: unknown key, did you mean 'name'?" in found
    assert any(one.startswith("environment: WAYPOST_ACCESS__USER__2: unknown key") for one in found), found


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    assert faults(tmp_path / "c.toml", b'\xef\xbb\xbf[relay]\nhostname = "mx.example.com"\n') == []


@pytest.mark.parametrize("value", ['"yes"', '"true"', "1", "[]"])
def test_a_flag_of_the_file_is_true_or_false(value: str, tmp_path: Path) -> None:
    (fault,) = faults(tmp_path / "c.toml", f"[tracking]\nopens = {value}\n")
    assert fault.startswith("[tracking] opens: must be true or false, without quotes")


def test_a_flag_of_the_environment_is_written_as_one_writes_them_there(tmp_path: Path) -> None:
    for word, is_on in (("yes", True), ("No", False), ("1", True), ("off", False)):
        assert load.load(None, {"WAYPOST_TRACKING__OPENS": word}).tracking.opens is is_on
    (fault,) = faults(tmp_path / "c.toml", "", {"WAYPOST_TRACKING__OPENS": "maybe"})
    assert fault.startswith("environment: WAYPOST_TRACKING__OPENS: must be true or false")


def test_a_variable_of_an_unknown_table_is_a_fault_of_the_environment(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path / "c.toml", "", {"WAYPOST_TRAKING__OPENS": "no"})
    assert fault == "environment: WAYPOST_TRAKING__OPENS: unknown key, did you mean 'tracking'?"


def test_a_wrong_item_is_one_fault(tmp_path: Path) -> None:
    text = '[[webhook]]\nurl = "https://a.example/"\nformat = "postmark"\nevents = ["bounce"]\n'
    assert len(faults(tmp_path / "c.toml", text)) == 1
    assert len(faults(tmp_path / "c.toml", text.replace('["bounce"]', "[]"))) == 1


def test_check_names_a_variable_that_changes_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": IMPORT_PATH, "WAYPOST_RELAY_HOSTNAME": "mx.example.com"}
    done = subprocess.run(
        [sys.executable, "-m", "relay", "check"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert "note  WAYPOST_RELAY_HOSTNAME changes nothing: two underscores" in done.stdout


def test_a_logo_is_a_small_picture_beside_the_file(tmp_path: Path) -> None:
    def logo_faults(octets: bytes) -> list[str]:
        (tmp_path / "logo").write_bytes(octets)
        return faults(tmp_path / "c.toml", '[unsubscribe]\nlogo = "logo"\n')

    assert logo_faults(b"\x89PNG\r\n\x1a\n" + bytes(60_000)) == []
    for octets, reason in ((bytes(70_000), "must have at most 64 KB"), (b"<html>", "must be a PNG, JPEG")):
        (fault,) = logo_faults(octets)
        assert fault.startswith("[unsubscribe] logo: ") and reason in fault
    (fault,) = faults(tmp_path / "c.toml", '[unsubscribe]\nlogo = "none.png"\n')
    assert "cannot read" in fault and "none.png" in fault
