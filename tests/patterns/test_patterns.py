"""Every pattern takes linear time in every way it is used.

`python -m tests.patterns` prints how many there are, and the slowest.
"""

import json
import re
import subprocess
import sys

import pytest

from tests.patterns import inventory, pumping
from tests.patterns.inventory import ROOT, Inventory

_SHARES = 8


@pytest.fixture(scope="session")
def pattern_inventory() -> Inventory:
    """Taken in a process of its own, where no module has been imported yet."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.patterns.inventory"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return inventory.from_json(json.loads(run.stdout))


@pytest.mark.parametrize("share", range(_SHARES))
def test_every_pattern_takes_linear_time(share: int, pattern_inventory: Inventory) -> None:
    slow = {
        one.place: (one.pattern.pattern, *proof)
        for one in pattern_inventory.patterns[share::_SHARES]
        if (proof := pumping.superlinear(one.pattern, one.ways))
    }
    assert not slow


def test_no_pattern_is_left_out(pattern_inventory: Inventory) -> None:
    print(f"{len(pattern_inventory.patterns)} patterns")
    assert len(pattern_inventory.patterns) > 400
    assert not pattern_inventory.unknown, "compose patterns, and inventory.EXAMPLES has none of theirs"
    assert not pattern_inventory.stale, "are in inventory.EXAMPLES, and compose no pattern"


@pytest.mark.parametrize(
    ("pattern", "flags", "way"),
    [
        (r"^\s*x", re.MULTILINE, "search"),
        (r"^\s*x", re.MULTILINE, "finditer"),
        (r"\s*X?\s*$", 0, "search"),
        (r"\s*X?\s*", 0, "fullmatch"),
        (r"(a|a)*b", 0, "search"),
        (r"(?:a+)+b", 0, "match"),
        (r"(\w+)\s*=", 0, "search"),
        (r"[\w.]++@", 0, "finditer"),
        (r"x.*y.*z", 0, "search"),
        (r"nonexist\w* user", re.IGNORECASE, "search"),
        (rb"<!--.*?-->", re.DOTALL, "finditer"),
        (rb"received:[^\n]*\n?(?:[ \t][^\n]*\n)*?[ \t]*by", 0, "match"),
    ],
)
def test_what_is_superlinear_is_seen(pattern: str | bytes, flags: int, way: str) -> None:
    assert pumping.superlinear(re.compile(pattern, flags), [way])


@pytest.mark.parametrize(
    ("pattern", "way"),
    [
        (r"(?<!\w)(\w++)\s*+=", "search"),
        (r"\s*+X?\s*+", "fullmatch"),
        (r"[a-z]{1,100}@", "search"),
        (r"(?:user|mailbox) (?:unknown|full)", "search"),
        (rb"(?s)<!--.*?(?:-->|\Z)", "finditer"),
    ],
)
def test_what_is_linear_is_left_in_peace(pattern: str | bytes, way: str) -> None:
    assert not pumping.superlinear(re.compile(pattern), [way])
