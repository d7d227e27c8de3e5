"""`waypost classify`: what a server's reply, or a report by mail, means for the recipient's address."""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from relay.bounce import classify, mbox, reply_lines, report
from relay.bounce.classify import Phase
from relay.bounce.report import Report
from relay.cli import output

_NO_VERDICT: dict[str, str | bool] = {
    "kind": "none", "category": "", "rule": "", "suppress": False, "retry": False, "status": "",
}  # fmt: skip


def classify_input(arguments: argparse.Namespace) -> int:
    if [arguments.lines, arguments.mail is not None, arguments.reply is not None].count(True) != 1:
        arguments.usage("give one REPLY, or --lines, or --mail FILE")
    if arguments.mail:
        return _classify_mails(arguments.mail)
    if arguments.lines:
        return _classify_lines(Phase(arguments.phase))
    if not arguments.reply.strip():
        arguments.usage("REPLY is empty")
    output.print_json(_judge_line(arguments.reply, Phase(arguments.phase)))
    return 0


def _classify_lines(default_phase: Phase) -> int:
    """One object for each line, so that the n-th answers the n-th line. A line without a reply says nothing; one with
    an unknown phase has an `error`, a line on standard error, and makes the exit status 1."""
    status = 0
    for number, line in enumerate(_read_stdin_lines(), 1):
        if not line.strip():
            output.print_json(_NO_VERDICT)
        elif unknown := reply_lines.find_unknown_phase(line):
            fault = f"there is no phase {unknown!r}; one of {', '.join(Phase)}"
            sys.stderr.write(f"waypost: line {number}: {fault}\n")
            output.print_json(_NO_VERDICT | {"error": fault})
            status = 1
        else:
            output.print_json(_judge_line(line, default_phase))
    return status


def _judge_line(line: str, default_phase: Phase) -> dict[str, str | bool]:
    phase, reply = reply_lines.parse_reply_line(line.rstrip("\r\n"), default_phase)
    return classify.verdict_as_json(classify.classify_reply(reply, phase))


def _read_stdin_lines() -> Iterator[str]:
    """The lines of standard input. Octets that are not UTF-8 are replaced."""
    for octets in sys.stdin.buffer:
        yield octets.decode("utf-8", "replace")


def _classify_mails(names: list[str]) -> int:
    """Judges all mails that can be read. For each other file there is a line on standard error, and the exit status is
    1."""
    status = 0
    for name in (each for given in names for each in _list_files(given)):
        try:
            octets = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        except OSError as error:
            sys.stderr.write(f"waypost: {name}: {error.strerror or error}\n")
            status = 1
            continue
        for one in mbox.split_mails(octets):
            # A file's name may hold any octets.
            for line in _report_objects(os.fsencode(name).decode("utf-8", "replace"), report.read_report(one)):
                output.print_json(line)
    return status


def _list_files(name: str) -> Iterator[str]:
    """The file itself, or all files below a folder, in the order of their names."""
    path = Path(name)
    if name != "-" and path.is_dir():
        yield from (str(below) for below in sorted(path.rglob("*")) if below.is_file())
    else:
        yield name


def _report_objects(name: str, read: Report) -> Iterator[dict[str, object]]:
    for one in read.recipients:
        yield {
            "file": name,
            "report": read.kind.value,
            "recipient": one.recipient,
            "action": one.action,
            "status": one.status,
            "code": one.code,
            "kind": one.verdict.kind.value,
            "category": one.verdict.category,
            "rule": one.verdict.rule,
            "suppress": one.verdict.suppress,
        }
    if not read.recipients:
        yield {
            "file": name,
            "report": read.kind.value,
            "recipient": "",
            "action": "",
            "status": "",
            "code": 0,
            "kind": "none",
            "category": "complaint" if read.kind is report.ReportKind.ARF else "",
            "rule": "",
            "suppress": False,
        }
