"""What once broke an entry point does so no more, and neither do its seeds and a few hundred mutations of them."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz import entry_points, mutation
from tests.fuzz.__main__ import FAILED_INPUTS, fails
from tests.fuzz.entry_points import EntryPoint

_COUNTS = {"mime": 60, "report": 60, "token": 400, "smtp": 60, "tracking": 60, "console": 40}


@pytest.fixture(scope="module")
def opened() -> Iterator[dict[str, EntryPoint]]:
    with entry_points.open_entry_points() as found:
        yield found


@pytest.mark.parametrize("name", _COUNTS)
def test_an_entry_point_takes_seeds_and_mutations(opened: dict[str, EntryPoint], name: str) -> None:
    assert set(_COUNTS) == set(opened)
    entry_point, source = opened[name], random.Random(1)
    for octets in [
        *entry_point.seeds[:10],
        *(mutation.mutate(entry_point.seeds, source) for _ in range(_COUNTS[name])),
    ]:
        entry_point.check(octets)


@pytest.mark.parametrize("path", sorted(FAILED_INPUTS.glob("*-*")), ids=lambda path: path.name)
def test_what_was_found_is_taken(opened: dict[str, EntryPoint], path: Path) -> None:
    opened[path.name.partition("-")[0]].check(path.read_bytes())


def test_a_failing_input_is_made_smaller() -> None:
    def check(octets: bytes) -> None:
        assert b"AB" not in octets

    entry_point = EntryPoint([], check)
    assert mutation.shrink(b"x" * 500 + b"AB" + b"y" * 700, lambda octets: fails(entry_point, octets)) == b"AB"
