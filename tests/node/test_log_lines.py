"""The log as a user reads it: text or JSON, from a level on, with what a line belongs to on each line."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.upstream import ScriptedUpstream
from tests.waypost_server import ROOT, Waypost, html_mail

_LINE = re.compile(r"(?P<at>\d{4}-\d\d-\d\dT[\d:.]+Z) (?P<level>[a-z]+) (?P<fact>[a-z-]+)(?P<fields>.*)")


@pytest.fixture(scope="module")
def structured(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waypost]:
    """A relay that logs JSON. Its planner has a mistake."""
    relay = Waypost(
        tmp_path_factory.mktemp("json"), upstream.port, '[log]\nformat = "json"\n[delivery]\nretry = ["1h"]\n'
    )
    relay.mistakes = ["relay.rewrite.instrument:instrument_parts"]
    with relay:
        yield relay


def entries(relay: Waypost) -> list[dict[str, Any]]:
    lines = relay.read_log().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def text_fields(relay: Waypost) -> list[dict[str, str]]:
    found = filter(None, map(_LINE.fullmatch, relay.read_log().splitlines()))
    return [line.groupdict() | dict(re.findall(r"(\w+)=(\S+)", line["fields"])) for line in found]


def test_each_line_is_an_object_and_numbers_are_numbers(structured: Waypost) -> None:
    structured.send(html_mail(), "json@example.com")
    [accepted] = [one for one in entries(structured) if one["fact"] == "accepted"][-1:]
    assert accepted["level"] == "info" and accepted["recipients"] == 1 and accepted["octets"] > 100
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", accepted["at"])
    [delivered] = [one for one in entries(structured) if one["fact"] == "delivered"][-1:]
    assert delivered["message"] == accepted["message"] and delivered["connection"] == accepted["connection"]


def test_a_traceback_is_a_field_of_its_line(structured: Waypost) -> None:
    structured.send(html_mail(), "trace@example.com")
    [fault] = [one for one in entries(structured) if one["fact"] == "fault" and "trace" in one][:1]
    assert fault["where"] == "plan" and "KeyError" in fault["trace"] and fault["message"] == fault["id"]


def test_every_line_of_a_connection_has_its_id(relay: Waypost) -> None:
    before = len(text_fields(relay))
    with relay.client() as client:
        client.docmd("MAIL", "FROM:<app@sender.test")
        for who in ("one@example.com", "e550-5.1.1@example.com"):
            client.sendmail("app@sender.test", [who, "two@example.com"], html_mail())
    lines = [
        line for line in text_fields(relay)[before:] if line["fact"] in ("refused", "accepted", "delivered", "failed")
    ]
    assert len({line["connection"] for line in lines}) == 1
    assert len([line for line in lines if line["fact"] == "accepted"]) == 2
    messages = {line["message"] for line in lines if "message" in line}
    assert len(messages) == 2
    assert "message" not in next(line for line in lines if line["fact"] == "refused")


def test_a_line_about_something_else_names_the_message_that_met_it(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    with Waypost(tmp_path, upstream.port) as relay:
        with relay.locked():
            relay.send(html_mail(), "busy@example.com")
        [accepted] = [line for line in text_fields(relay) if line["fact"] == "accepted"]
        journaled = [line for line in text_fields(relay) if line["fact"] == "fact-journaled"]
        assert journaled and {line["message"] for line in journaled} == {accepted["message"]}


def test_at_level_warning_what_goes_well_is_not_written(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    with Waypost(tmp_path, upstream.port, '[log]\nlevel = "warning"\n') as relay:
        relay.send(html_mail(), "well@example.com")
        relay.send(html_mail(), "e550-5.1.1+level@example.com")
        levels = {line["level"] for line in text_fields(relay)}
        assert "failed" in {line["fact"] for line in text_fields(relay)}
    assert levels <= {"warning", "error"}


@pytest.mark.skipif(not shutil.which("fail2ban-regex"), reason="needs fail2ban-regex: apt-get install fail2ban")
def test_fail2ban_reads_a_failed_login_in_either_format(structured: Waypost, tmp_path: Path) -> None:
    line = '{"at":"2026-11-27T09:01:00.123Z","level":"warning","fact":"login-failed","ip":"192.0.2.1","door":"smtp"}\n'
    text = "2026-11-27T09:01:00.123Z warning login-failed ip=192.0.2.2 door=smtp connection=4be1c0a9f2\n"
    (tmp_path / "log").write_text(line + text)
    command = ["fail2ban-regex", str(tmp_path / "log"), str(ROOT / "docs/fail2ban/waypost.filter.conf")]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "2 lines, 0 ignored, 2 matched, 0 missed" in found.stdout, found.stdout
