"""From a line as people paste it to a reply, and from a reply's text to the words that rules look for."""

import json
import os
import subprocess
import sys

import pytest

from relay.bounce import phrases, reply_lines
from relay.bounce.classify import Phase
from relay.reply import Reply

LISTS = {"WHO": ("user", "mailbox")}


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("550 5.1.1 text", Reply(550, "5.1.1", "text")),
        ("  550 5.1.1 text \n", Reply(550, "5.1.1", "text")),
        ("550", Reply(550, "", "")),
        ("550: text", Reply(550, "", "text")),
        ("550-5.1.1 one 550 5.1.1 two", Reply(550, "5.1.1", "one\ntwo")),
        ("550-5.1.1 one\\n550-5.1.1 two\\n550 5.1.1 three", Reply(550, "5.1.1", "one\ntwo\nthree")),
        ("550-5.1.1 one\\r\\n550 5.1.1 two", Reply(550, "5.1.1", "one\ntwo")),
        ("550-5.1.1 one\r\n550 5.1.1 two", Reply(550, "5.1.1", "one\ntwo")),
        ("550 5.1.1 there are 550 of them", Reply(550, "5.1.1", "there are 550 of them")),
        ("host mx.example.com[203.0.113.9] said: 550 5.1.1 text", Reply(550, "5.1.1", "text")),
        ("host mx.example.com said: 550-5.1.1 one 550 5.1.1 two", Reply(550, "5.1.1", "one\ntwo")),
        ("smtp; 550 5.1.1 text", Reply(550, "5.1.1", "text")),
        ("smtp;550 text", Reply(550, "", "text")),
        ("remote server answered 550 5.1.1 text", Reply(550, "5.1.1", "text")),
        ("no code here after 300 seconds", Reply(0, "", "no code here after 300 seconds")),
        ("5.1.1 text", Reply(0, "5.1.1", "text")),
        ("550_Invalid_recipient", Reply(550, "", "Invalid_recipient")),
        ("550,5.1.1,text", Reply(550, "5.1.1", "text")),
        ("#550 5.1.1 text", Reply(550, "5.1.1", "text")),
        ("<<< 550 5.1.1 text", Reply(550, "5.1.1", "text")),
        ("<joe@example.com>... 550 text", Reply(550, "", "text")),
        ("SMTP error 550: text", Reply(550, "", "text")),
        ("mx.example.com [203.0.113.9]: 550 text", Reply(550, "", "text")),
        ("('550', '5.1.1 text')", Reply(550, "5.1.1", "text')")),
        ("connect to smtp.example.com:587 timed out", Reply(0, "", "connect to smtp.example.com:587 timed out")),
        ("", Reply(0, "", "")),
    ],
)
def test_a_line_becomes_a_reply(line: str, reply: Reply) -> None:
    assert reply_lines.parse_reply_line(line, Phase.RCPT) == (Phase.RCPT, reply)


def test_a_phase_and_a_tab_may_stand_before_a_reply() -> None:
    assert reply_lines.parse_reply_line("dot\t554 no", Phase.RCPT) == (Phase.DOT, Reply(554, "", "no"))
    assert reply_lines.parse_reply_line("AUTH \t535 no", Phase.RCPT) == (Phase.AUTH, Reply(535, "", "no"))
    assert reply_lines.parse_reply_line("554\tno", Phase.DATA) == (Phase.DATA, Reply(554, "", "no"))
    assert reply_lines.parse_reply_line("rcpt 554 5.7.1 no", Phase.DATA) == (Phase.DATA, Reply(554, "5.7.1", "no"))


def test_any_octets_on_standard_input_get_an_answer_each_an_empty_line_too() -> None:
    octets = b"550 5.1.1 User \xff\xfeunknown\n\n451 \x00\x85 greylisted\xe9\nrcpt\t\xf0\x9f\n"
    done = subprocess.run(
        [sys.executable, "-m", "relay", "classify", "--lines"],
        input=octets,
        capture_output=True,
        check=True,
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"},
    )
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["category"] for one in verdicts] == ["user_unknown", "", "greylisted", "undetermined"]
    assert (verdicts[1]["kind"], verdicts[1].keys()) == ("none", verdicts[0].keys())


def test_a_line_with_an_unknown_phase_is_named_and_the_others_are_judged() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "relay", "classify", "--lines"],
        input=b"rcptt\t550 5.1.1 User unknown\nrcpt\t550 5.1.1 User unknown\n",
        capture_output=True,
    )
    assert done.returncode == 1
    assert b"line 1: there is no phase 'rcptt'; one of connect, helo" in done.stderr
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert (first["kind"], second["kind"]) == ("none", "hard") and "rcptt" in first["error"]


# ---------------------------------------------------------------------------------------------- phrases


@pytest.mark.parametrize(
    ("phrase", "text", "holds"),
    [
        ("user unknown", "User unknown", True),
        ("user unknown", '"user"... (UNKNOWN)!', True),
        ("user unknown", "users unknown", False),
        ("WHO unknown", "mailbox unknown", True),
        ("WHO/host unknown", "host unknown", True),
        ("mailbox is? full", "mailbox full", True),
        ("mailbox is? full", "mailbox was full", False),
        ("mailbox . full", "mailbox for <joe@example.com> is full", True),
        ("mailbox . full", "mailbox a b c d full", False),
        ("mailbox .. full", "mailbox a b c d full", True),
        ("exceed* quota", "exceeding quota", True),
        ("does not exist", "doesn’t exist", True),
        ("not be found", "can't be found", True),
        ("@ can not", "joe@example.com cannot", True),
        ("ipv4 blocked", "[203.0.113.9] blocked", True),
        ("over quota", "Over-Quota", True),
        ("nao existe", "não existe", True),
        ("não existe", "nao existe", True),
        ("邮 箱", "该邮箱不存在", True),
        ("full", "<full@full.example>", False),
    ],
)
def test_a_phrase(phrase: str, text: str, holds: bool) -> None:
    assert bool(phrases.parse_phrase(phrase, LISTS).search(phrases.canonical_text(phrases.tokenize(text)))) is holds


@pytest.mark.parametrize(
    "phrase", ["", "..", "word* .", "a? b*", "NOBODY unknown", "doesn't exist", "e-mail full", "Full"]
)
def test_a_phrase_that_no_text_could_have_is_an_error(phrase: str) -> None:
    with pytest.raises(ValueError, match="phrase"):
        phrases.parse_phrase(phrase, LISTS)
