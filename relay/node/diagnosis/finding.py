"""A finding: whether something is as it should be, and what to do if it is not."""

from enum import StrEnum
from typing import NamedTuple


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    NOTE = "note"  # works, but should be looked at
    FAIL = "FAIL"  # does not work


class Finding(NamedTuple):
    """What was looked at, what was found, and what to do about it."""

    level: Level
    subject: str
    detail: str = ""
    remedy: str = ""


def ok(subject: str, detail: str = "") -> Finding:
    return Finding(Level.OK, subject, detail)


def note(subject: str, detail: str, remedy: str = "") -> Finding:
    return Finding(Level.NOTE, subject, detail, remedy)


def fail(subject: str, detail: str, remedy: str = "") -> Finding:
    return Finding(Level.FAIL, subject, detail, remedy)
