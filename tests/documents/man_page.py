"""docs/waypost.1: `man waypost`, from the parsers of the command line. A wheel installs it in share/man/man1.

python -m tests.documents.man_page        writes the page; a test compares it
"""

import argparse
import re
from collections.abc import Iterator

from relay.cli import command_table
from relay.cli.arguments.parser import HelpFormatter, Parser
from tests.waypost_server import ROOT

PAGE = ROOT / "docs/waypost.1"
_NUMBERS = {None: "{}", "?": "[{}]", "*": "[{} ...]", "+": "{} ..."}
_HEAD = """\
.\\" Made by python -m tests.documents.man_page from the parsers of relay/cli.
.TH WAYPOST 1 "" Waypost "User Commands"
.nh
.ad l
.SH NAME
waypost \\- SMTP relay that adds opens, clicks, unsubscribes and bounces to mail
.SH SYNOPSIS
.B waypost
[\\fB\\-c\\fR \\fIFILE\\fR] \\fICOMMAND\\fR [\\fIARGUMENT\\fR ...]
.SH DESCRIPTION
"""
_TAIL = """\
.SH FILES
.TP
.I ./config.toml, /etc/waypost/config.toml
The configuration, the first of them that is there. Relative paths in it are relative to the file.
.B waypost config
prints it with every key and its default.
.SH ENVIRONMENT
.TP
.B WAYPOST_CONFIG
The name of the configuration, if \\fB\\-\\-config\\fR does not name one.
.TP
.BI WAYPOST_ TABLE __ KEY
The value of that key instead of the file's, as WAYPOST_TRACKING__PUBLIC_URL. WAYPOST_UPSTREAM__2__PASSWORD is a key of
the second [[upstream]], and WAYPOST_UPSTREAM__PASSWORD_FILE names a file that has the value.
.SH EXIT STATUS
.TP
.B 0
Done.
.TP
.B 1
It failed, and says why in one line.
.TP
.B 2
Wrong usage.
.TP
.B 130
Ended by ^C.
"""


def make_page() -> str:
    parser = command_table.make_parser()
    parts = [
        _HEAD,
        *_paragraphs(parser.description, begins=True),
        ".SH OPTIONS\n",
        *_options(parser, is_outermost=True),
    ]
    parts.append(".SH COMMANDS\n")
    for name, command, help_text in _commands(parser):
        parts += _describe_command(f"waypost {name}", command, help_text)
    return "".join([*parts, _TAIL])


def _describe_command(name: str, parser: Parser, help_text: str) -> Iterator[str]:
    yield f".SS {_escape(f'{name}{_arguments(parser)}')}\n"
    yield from _paragraphs(_sentence(parser.description or help_text), begins=True)
    yield from _options(parser)
    for action, inner, inner_help in _commands(parser):
        yield f'.PP\n.B "{_escape(f"{name} {action}{_arguments(inner)}")}"\n.RS\n'
        yield from _paragraphs(_sentence(inner.description or inner_help), begins=True)
        yield from _options(inner)
        yield from _paragraphs(inner.epilog)
        yield ".RE\n"
    yield from _paragraphs(parser.epilog)


def _sentence(text: str) -> str:
    """A help as a sentence; a description is some already."""
    text = text.strip()
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith(('.', ':', ')')) or '  ' in text else '.'}"


def _commands(parser: Parser) -> Iterator[tuple[str, Parser, str]]:
    """The commands of a parser, or the actions of a command, with their helps."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                yield choice.dest, action.choices[choice.dest], choice.help or ""


def _arguments(parser: Parser) -> str:
    """What stands behind a command's name; without its options, but for those that it needs."""
    words = ["[OPTION ...]"] if any(map(_is_own_option, parser._actions)) else []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            words.append("ACTION ..." if action.required else "[ACTION ...]")
        elif not action.option_strings:
            words.append(_NUMBERS[action.nargs if isinstance(action.nargs, str) else None].format(action.metavar))
        elif action.required:
            words.append(f"{action.option_strings[-1]} {action.metavar}")
    return "".join(f" {word}" for word in words)


def _is_own_option(action: argparse.Action) -> bool:
    return bool(action.option_strings) and not action.required and action.dest not in ("help", "config")


def _options(parser: Parser, *, is_outermost: bool = False) -> Iterator[str]:
    for action in parser._actions:
        is_common = action.dest in ("help", "config") and not is_outermost
        if isinstance(action, argparse._SubParsersAction) or is_common or not (action.help or action.choices):
            continue
        choices = "|".join(map(str, action.choices or ()))
        metavar = "" if action.nargs == 0 else str(action.metavar or choices or action.dest.upper())
        names = ", ".join(f"\\fB{_escape(name)}\\fR" for name in action.option_strings)
        shown = " ".join(filter(None, [names, f"\\fI{_escape(metavar)}\\fR" if metavar else ""]))
        text = HelpFormatter("")._expand_help(action) if action.help else f"One of {choices}." if choices else ""
        text = re.sub(r" \(default: (True|False|None)\)$", "", text)  # which Python 3.11 adds
        yield f".TP\n{shown}\n{_escape(text)}\n"


def _paragraphs(text: str | None, *, begins: bool = False) -> Iterator[str]:
    """Prose is filled; lines that are indented, such as examples, stay as they are. What `begins` stands below a
    heading, which is a paragraph's beginning by itself."""
    for n, paragraph in enumerate((text or "").strip("\n").split("\n\n")):
        lines = "\n".join(map(_escape, paragraph.splitlines()))
        if paragraph:
            yield "" if begins and n == 0 else ".PP\n"
            yield f".nf\n{lines}\n.fi\n" if "\n  " in f"\n{paragraph}" else f"{lines}\n"


def _escape(text: str) -> str:
    """The text for roff: `-` is what one types, and no line begins like a request."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    escaped = "".join(one if one.isascii() else f"\\[u{ord(one):04X}]" for one in escaped)
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    PAGE.write_text(make_page(), "utf-8")
