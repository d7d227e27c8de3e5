"""The command line itself: helps that fit, slips that are named, and no more loaded than a command needs."""

import argparse
import contextlib
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.bounce.classify import Phase
from relay.cli import command_table, main
from relay.cli.arguments import argument_types, mail
from relay.cli.arguments.parser import Parser
from relay.store.console import api_keys, audit_log
from relay.store.database.tables import Status
from relay.store.views import statistics
from tests.fork_server import IMPORT_PATH
from tests.postgresql_server import IS_POSTGRESQL
from tests.waypost_server import ROOT, Waypost

PROGRAM = [sys.executable, "-m", "relay"]


def waypost(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*PROGRAM, *words],
        cwd=cwd,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        env={**os.environ, "PYTHONPATH": IMPORT_PATH, **environment},
    )


def all_parsers(parser: Parser | None = None) -> Iterator[Parser]:
    """The parsers of all commands and their actions."""
    parser = parser or command_table.make_parser()
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from all_parsers(one)


def usage_error(*words: str) -> str:
    """What a wrong command is answered."""
    expected = io.StringIO()
    with contextlib.redirect_stderr(expected), pytest.raises(SystemExit) as ended:
        command_table.make_parser(words).parse_args(words)
    assert ended.value.code == 2
    return expected.getvalue().splitlines()[-1]


def test_every_help_fits_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for parser in all_parsers():
        for line in parser.format_help().splitlines():
            assert len(line) <= 80, f"{parser.prog}: {line}"


def test_every_command_has_a_description_and_work_to_do() -> None:
    for parser in all_parsers():
        if run := parser.get_default("run"):
            assert callable(main.find_run(run)), run
    for name in command_table.COMMANDS:
        parser = next(one for one in all_parsers() if one.prog == f"waypost {name}")
        assert parser.description and parser.epilog, name


def test_no_error_names_a_function() -> None:
    for parser in all_parsers():
        for action in parser._actions:
            if callable(action.type):
                with pytest.raises(argparse.ArgumentTypeError):
                    action.type("nonsense!")


def test_the_words_that_an_argument_may_be_are_those_of_the_store() -> None:
    assert tuple(Status) == argument_types.STATUSES
    assert argument_types.SCOPES == api_keys.SCOPES
    assert tuple(audit_log.Door) == argument_types.DOORS
    assert argument_types.STATISTIC_GROUPS == statistics.GROUPS
    assert tuple(Phase) == mail.PHASES


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["messagez"], "there is no command messagez; did you mean messages?"),
        (["queue", "lst"], "there is no action lst; did you mean list?"),
        (["messages", "--limt", "3"], "there is no option --limt; did you mean --limit?"),
        (["events", "--status", "bounced"], "there is no option --status; --type does that here"),
        (["events", "-c", "a.toml", "--lmit=3", "x"], "there is no option --lmit; did you mean --limit?"),
        (["stats", "--from", "7d"], "there is no option --from; --since does that here"),
        (["messages", "--status", "bouncd"], "not 'bouncd'; did you mean bounced?"),
        (["stats", "--last", "7x"], "must be a duration such as"),
        (["serve", "--workers", "100"], "must be a number from 1 to 64, not '100'"),
        (["keys", "revoke", "first"], "must be the number of a key"),
        (["check", "now"], "'now' is one word too many"),
        (["events", "reclassify", "--since", "yesterday"], "must be a time such as 2026-11-27"),
    ],
)
def test_a_slip_is_named_with_what_may_have_been_meant(words: list[str], expected: str) -> None:
    assert expected in usage_error(*words)


@pytest.mark.parametrize(
    "words",
    ["messages --recipient", "messages --tag", "messages", "events --stream", "queue list --recipient",
     "suppressions list", "suppressions list --recipient", "refusals --query", "audit --by", "stats --tag"],
)  # fmt: skip
def test_an_empty_filter_does_not_find_everything(words: str) -> None:
    assert "must not be empty" in usage_error(*words.split(), "")


@pytest.mark.parametrize("words", [["--config", "a.toml", "check"], ["check", "-c", "a.toml"]])
def test_the_configuration_is_named_before_a_command_or_after_it(words: list[str]) -> None:
    assert command_table.make_parser(words).parse_args(words).config == "a.toml"


def loaded_modules(*words: str, cwd: Path) -> set[str]:
    """What a command loads."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "relay", *words],
        cwd=cwd, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": IMPORT_PATH},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


@pytest.mark.parametrize("words", [["--help"], ["queue", "list", "--help"], ["classify", "550 5.1.1 no"]])
def test_a_command_that_needs_no_configuration_loads_neither_that_nor_a_database(
    words: list[str], tmp_path: Path
) -> None:
    assert not loaded_modules(*words, cwd=tmp_path) & {"pydantic", "sqlalchemy", "cryptography", "asyncio"}


def test_commands_that_list_do_not_load_what_records_or_changes_what_they_list(tmp_path: Path) -> None:
    relay = Waypost(tmp_path)
    relay.cli("messages")  # makes the database
    lists = ["messages", "events", "stats", "queue list", "suppressions list", "webhooks list", "pixel list",
             "user list", "api-key list", "keys list", "refusals", "audit"]  # fmt: skip
    code = (
        "import sys; from relay.cli import main; print({main.main(one.split()) for one in sys.argv[1:]}, *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *lists], cwd=tmp_path, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": IMPORT_PATH, "WAYPOST_CONFIG": str(relay.config)},
    )  # fmt: skip
    statuses, *loaded = done.stdout.splitlines()[-1].split()
    assert statuses == "{0}" and "relay.store.store" in loaded, done.stderr
    driver = {"psycopg"} if IS_POSTGRESQL else set()
    assert driver == set(loaded) & {
        "alembic", "rich", "httpx", "sqlalchemy.orm", "sqlmodel", "psycopg", "web",
        "relay.store.facts", "relay.attribution.rules",
    }  # fmt: skip


def test_a_server_does_not_load_what_few_servers_need(tmp_path: Path) -> None:
    code = "import sys, relay.cli.serve; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": IMPORT_PATH},
    )  # fmt: skip
    loaded = set(done.stdout.split())
    assert {"relay.node.mail_role", "relay.node.web_role"} <= loaded, done.stderr
    # All processes share what is loaded: a webhook's client, an OpenID provider's, migrations, tables on a terminal.
    assert set() == loaded & {"httpx", "httpcore", "h2", "authlib", "alembic", "rich", "pygments", "apprise"}


@pytest.mark.parametrize(
    ("words", "status", "lines"),
    [(["config"], 0, 100), (["token", "read", "nothing"], 1, 0), (["token", "reed"], 2, 0)],
)
def test_a_process_ends_at_once_with_its_status_and_all_that_it_wrote(
    words: list[str], status: int, lines: int, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "relay", *words], cwd=tmp_path, capture_output=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""},
    )  # fmt: skip
    assert (done.returncode, bool(done.stderr)) == (status, status != 0)
    assert done.stdout.count(b"\n") >= lines and (not lines or done.stdout == (ROOT / "config.toml").read_bytes())


def test_output_to_a_full_disk_is_an_error_of_one_line(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "relay", "config"], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, timeout=60,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""},
        )  # fmt: skip
    assert done.returncode == 1 and done.stderr == b"waypost: the output cannot be written: No space left on device\n"


def test_a_pipe_gets_utf_8_in_any_locale(tmp_path: Path) -> None:
    relay = Waypost(tmp_path)
    relay.cli("pixel", "create", "Grüße an Ann")
    listing = ("pixel", "list", "--config", str(relay.config))
    done = waypost(*listing, cwd=tmp_path, PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "Grüße an Ann" in done.stdout.decode("utf-8")


def test_config_prints_the_template_and_a_start_accepts_it(tmp_path: Path) -> None:
    done = waypost("config", cwd=tmp_path)
    assert done.stdout == (ROOT / "config.toml").read_bytes()
    (tmp_path / "config.toml").write_bytes(done.stdout)
    assert waypost("check", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_that_the_shell_can_read(shell: str, tmp_path: Path) -> None:
    script = waypost("completion", shell, cwd=tmp_path).stdout
    assert b"suppressions" in script and b"api-key" in script
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=script, check=True, timeout=60)


def test_bash_completes_commands_actions_values_and_files(tmp_path: Path) -> None:
    (tmp_path / "newsletter.eml").touch()
    (tmp_path / "script").write_bytes(waypost("completion", "bash", cwd=tmp_path).stdout)
    for words, completed in (
        ("sup", "suppressions"),
        ("queue ret", "retry"),
        ("messages --status bou", "bounced"),
        ("instrument news", "newsletter.eml"),
    ):
        asked = f"COMP_WORDS=(waypost {words}) COMP_CWORD={len(words.split())}"
        typed = f". ./script; {asked}; _shtab_waypost; echo ${{COMPREPLY[@]}}"
        done = subprocess.run(["bash", "-c", typed], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.stdout.split() == [completed], (words, done)
