"""Starting and stopping: one line when ready, every fault at once, one server to a data directory."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_origin

import httpx
import pytest
from pydantic import BaseModel

from relay import webhook_format
from relay.config import load, schema, smtp
from relay.config import sign_in as sign_in_tables
from relay.config.base import ConfigTable
from relay.config.schema import Config
from relay.rewrite import provider_dialects
from tests.fork_server import IMPORT_PATH
from tests.waypost_server import ROOT, Waypost, html_mail


def waypost(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "relay", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": IMPORT_PATH, **environment},
    )


def test_ready_is_one_line_that_says_where(sandbox: Waypost) -> None:
    assert sandbox.ready == f"ready smtp=127.0.0.1:{sandbox.port} tracking={sandbox.tracking} console={sandbox.console}"


def test_the_first_start_says_how_to_get_into_the_console_and_a_second_does_not(tmp_path: Path) -> None:
    relay = Waypost(tmp_path)
    with relay:
        pass
    first = relay.read_log()
    assert re.search(r"first account: +admin +/ +\S{12,}", first)
    with relay:
        pass
    assert relay.read_log().count("first account") == 1


def test_a_log_of_json_has_nothing_else_in_it_at_the_first_start_either(tmp_path: Path) -> None:
    with Waypost(tmp_path, tables='[log]\nformat = "json"\n') as relay:
        pass
    lines = [json.loads(line) for line in relay.read_log().splitlines()]
    [made] = [line for line in lines if line["fact"] == "first-account"]
    assert made["name"] == "admin" and made["password_file"] == str(tmp_path / "data" / "first-password")


def sign_in(relay: Waypost, name: str, password: str) -> int:
    form = {"name": name, "password": password}
    return httpx.post(f"{relay.console}/login", data=form).status_code


def test_the_first_password_is_in_a_file_until_it_is_used_and_never_in_a_journal(tmp_path: Path) -> None:
    file = tmp_path / "data" / "first-password"
    with Waypost(tmp_path) as relay:
        password = file.read_text().strip()
        assert file.stat().st_mode & 0o777 == 0o600 and len(password) > 20
        assert str(file) in relay.read_log()
        assert sign_in(relay, "admin", "wrong") == 401
        assert file.exists()
        assert sign_in(relay, "admin", password) == 303
        assert not file.exists()
        assert sign_in(relay, "admin", password) == 303
    assert password not in relay.read_log()


def test_a_new_password_takes_the_file_of_the_first_one_away(tmp_path: Path) -> None:
    with Waypost(tmp_path) as relay:
        relay.cli("user", "add", "admin", stdin=b"another one\n")
        assert not (tmp_path / "data" / "first-password").exists()
        assert sign_in(relay, "admin", "another one") == 303


def test_on_a_terminal_the_first_password_is_shown(tmp_path: Path) -> None:
    relay = Waypost(tmp_path)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "relay", "serve", "--config", str(relay.config)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs)
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"ready ")
    seen = os.read(ours, 1 << 16).decode()
    while "first account" not in seen:
        seen += os.read(ours, 1 << 16).decode()
    found = re.search(r"first account: +admin +/ +(\S{12,})", seen)
    assert found and sign_in(relay, "admin", found[1]) == 303
    assert not (tmp_path / "data" / "first-password").exists()
    process.terminate()
    assert process.wait(60) == 0
    process.stdout.close()
    os.close(ours)
    os.close(theirs)


def test_a_configuration_with_secrets_that_all_may_read_is_remarked_on(tmp_path: Path) -> None:
    tables = '[[upstream]]\naddress = "127.0.0.1:9"\ntls = "off"\nusername = "u"\npassword = "TOPSECRET"\n'
    tables += '[[webhook]]\nurl = "https://user:TOPSECRET@a.example/"\nformat = "postmark"\n'
    relay = Waypost(tmp_path, tables=tables)
    relay.config.chmod(0o644)
    said = relay.cli("check").decode()
    assert "holds [[upstream]] #1 password, [[webhook]] #1 url: chmod o-r" in said and "TOPSECRET" not in said
    with relay:
        assert "secrets-readable" in relay.read_log() and "TOPSECRET" not in relay.read_log()
    relay.config.chmod(0o640)
    assert b"chmod" not in relay.cli("check")
    relay.config.write_text(relay.config.read_text().replace('"TOPSECRET"', '{ env = "HOME" }').replace("user:TOP", ""))
    relay.config.chmod(0o644)
    assert b"chmod" not in relay.cli("check")


def test_every_fault_is_named_at_once_by_file_table_and_key(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        '[relay]\nhostnme = "x"\n[tracking]\npublic_url = "ftp://x"\nopens = "maybe"\n'
        '[[upstream]]\nadress = "x"\ntls = "on"\n[access]\nnetworks = ["0.0.0.0/0"]\n'
        '[delivery]\nretry = ["1m", "soon"]\n[nope]\nx = 1\n'
    )
    for command in ("check", "serve"):
        done = waypost(command, "--config", str(path), cwd=tmp_path)
        assert done.returncode == 1 and done.stdout == ""
        for fault in [
            "[relay] hostnme: unknown key, did you mean 'hostname'?",
            "[tracking] public_url: must be an address such as",
            "[tracking] opens: must be true or false, without quotes",
            "[[upstream]] #1 address: is required",
            "[[upstream]] #1 adress: unknown key, did you mean 'address'?",
            "[[upstream]] #1 tls: must be one of off, starttls or implicit",
            "[access] networks: 0.0.0.0/0 would make this an open relay",
            "[delivery] retry #2: must be a duration",
            "[nope]: unknown key",
        ]:
            assert f"{path}: {fault}" in done.stderr


def test_the_environment_overrides_and_is_named_when_it_is_wrong(tmp_path: Path) -> None:
    assert waypost("check", cwd=tmp_path).returncode == 0
    done = waypost("check", cwd=tmp_path, WAYPOST_DELIVERY__MODE="later", WAYPOST_TRACKING__OPENS="no")
    assert done.returncode == 1
    assert done.stderr.startswith("environment: WAYPOST_DELIVERY__MODE: must be one of inline or queued")
    done = waypost("check", cwd=tmp_path, WAYPOST_UPSTREAM__ADDRESS="smtp.example.com:587")
    assert "inline delivery through primary" in done.stdout


def test_the_example_configuration_is_the_defaults() -> None:
    example = load.load(ROOT / "config.toml", {})
    defaults = load.load(None, {}).model_copy(update={"relay": example.relay})
    assert example.model_dump() == defaults.model_dump()  # all but the file that it came from


def test_every_key_is_explained_in_the_example_configuration() -> None:
    text = (ROOT / "config.toml").read_text()

    for table in (vars(smtp) | vars(sign_in_tables) | vars(schema)).values():
        if isinstance(table, type) and issubclass(table, ConfigTable) and table not in (
            ConfigTable, schema.Config, schema.DkimConfig,
        ):  # fmt: skip
            for key in table.model_fields:
                if key not in ("user", "oidc", "proxy_auth"):
                    assert re.search(rf"(?m)^#? *{key} *=", text), f"{table.__name__}.{key}"


def test_the_example_configuration_names_every_provider_and_webhook_format() -> None:
    text = re.sub(r"\n# +# ", " ", (ROOT / "config.toml").read_text())
    dialects = get_args(smtp.DialectName)
    assert dialects == provider_dialects.NAMES
    assert f" {' | '.join(dialects)}; none." in text
    ours, *others = webhook_format.FORMATS
    assert f'# format = "{ours}"' in text and f" | {' | '.join(others)}: what those send" in text


def test_secrets_come_from_the_environment_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    (tmp_path / "secret").write_text("from a file\n")
    table = '[[upstream]]\naddress = "127.0.0.1:25"\ntls = "off"\nusername = "u"\npassword = {}\n'
    path.write_text(table.format(f'{{ file = "{tmp_path}/secret" }}'))
    assert load.load(path, {}).upstream[0].password.get_secret_value() == "from a file"
    path.write_text(table.format('{ env = "NO_SUCH_VARIABLE" }'))
    with pytest.raises(
        load.ConfigError, match=r"\[\[upstream\]\] #1 password: the environment has no variable NO_SUCH"
    ):
        load.load(path, {})


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    relay = Waypost(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", relay.port))
        taken.listen()
        error = relay.cli("serve", status=1).decode()
    assert f"[[listen]] address: cannot listen on 127.0.0.1:{relay.port}: Address already in use" in error


def test_two_servers_do_not_share_a_data_directory(sandbox: Waypost) -> None:
    assert sandbox.process is not None
    error = sandbox.cli("serve", status=1).decode()
    assert f"another Waypost (process {sandbox.process.pid}) already serves smtp" in error


def test_sigterm_ends_with_0_and_leaves_no_process(tmp_path: Path) -> None:
    relay = Waypost(tmp_path).start()
    children = relay.children()
    assert relay.stop() == 0
    assert children and not any(Path(f"/proc/{child}").exists() for child in children)


def test_a_killed_supervisor_takes_its_roles_along(tmp_path: Path) -> None:
    relay = Waypost(tmp_path).start()
    relay.kill()
    with relay:
        assert relay.send(html_mail(), "again@example.com").startswith("250")


def test_the_roles_start_alone_too(tmp_path: Path) -> None:
    relay = Waypost(tmp_path)
    relay.start("--only", "web")
    assert " smtp=" not in relay.ready and relay.get("/healthz").status_code == 200
    relay.stop()
    relay.start("--only", "smtp", "--workers", "2")
    assert "tracking=" not in relay.ready
    assert relay.send(html_mail(), "alone@example.com").startswith("250")
    relay.stop()


def test_wrong_usage_is_2_and_help_teaches(sandbox: Waypost) -> None:
    assert waypost("serve", "--nope", cwd=ROOT).returncode == 2
    for command in ("serve", "check", "demo", "instrument", "classify", "messages", "events", "stats", "queue",
                    "suppressions", "token", "keys", "user"):  # fmt: skip
        assert len(sandbox.cli(command, "--help").splitlines()) > 8, command


def test_a_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    relay = Waypost(tmp_path).start()
    assert relay.process is not None
    with relay.client() as busy:
        busy.ehlo()
        busy.mail("app@sender.test")  # a transaction that never ends keeps the drain waiting
        relay.process.send_signal(signal.SIGINT)
        relay.wait_for_log(" draining ")
        assert relay.process.poll() is None
        relay.process.send_signal(signal.SIGINT)
        assert relay.wait() == 1


def test_check_online_tries_the_upstream(tmp_path: Path) -> None:
    relay = Waypost(tmp_path, upstream_port=1)
    done = waypost("check", "--online", "--config", str(relay.config), cwd=tmp_path)
    assert done.returncode == 1
    assert "FAIL  upstream scripted at 127.0.0.1:1: connect: " in done.stdout
    assert "ok    data and database" in done.stdout


def test_a_database_of_a_later_version_is_not_touched(tmp_path: Path) -> None:
    relay = Waypost(tmp_path)
    relay.cli("messages")
    relay.sql("UPDATE alembic_version SET version_num = '9999'")
    assert b"later version of Waypost (9999)" in relay.cli("serve", status=1)


def secret_keys(table: type[BaseModel], place: str = "") -> Iterator[tuple[str, str]]:
    """The header of its table and the name of each key that holds a secret."""
    for name, field in table.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        path = f"{place}.{name}" if place else name
        for kind in inner:
            for header, key in secret_keys(kind, path):
                is_list = header == f"[{path}]" and get_origin(field.annotation) is list
                yield (f"[{header}]" if is_list else header), key
        if not inner and ("SecretStr" in str(field.annotation) or "Renewed" in str(field.annotation)):
            yield f"[{place}]", name


def test_no_secret_is_shown_in_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    keys = list(secret_keys(Config))
    assert {("[[webhook]]", "old_secret"), ("[[upstream]]", "password"), ("[database]", "url")} <= set(keys)
    for header, key in keys:
        for value in ("31415926535", '"whsec_31415926535###"', "{ env = 31415926535 }"):
            path.write_text(f"{header}\n{key} = {value}\n")
            try:
                load.load(path, {})
            except load.ConfigError as error:
                assert "31415926535" not in str(error), (header, key)
            else:
                assert value.startswith('"'), (header, key)


def test_the_password_in_a_webhooks_url_is_not_shown_in_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    hook = '[[webhook]]\nurl = "https://user:31415926535@app.example.com/hook?key=31415926535"\n'
    signed = f'{hook}secret = "whsec_{"A" * 44}"\n'
    for text, fault in ((signed * 2, "is given twice"), (hook, "needs a secret")):
        path.write_text(text)
        with pytest.raises(load.ConfigError, match=fault) as caught:
            load.load(path, {})
        assert "https://app.example.com/hook" in str(caught.value) and "31415926535" not in str(caught.value)
