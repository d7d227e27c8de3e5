"""Redaction: what identifies an address goes, in any spelling, and the rest of the text stays."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay import redaction as privacy_traces
from relay.store.queue import redaction
from tests import processor_time
from tests.spellings import SPELLINGS, found_in, spelled


@pytest.mark.parametrize("spelling", range(len(SPELLINGS)))
@pytest.mark.parametrize(
    "place", ["https://shop.example/{}", "https://shop.example/?b=1&u={}#x", "For {}, as asked", "{}"]
)
def test_however_an_address_is_spelled_its_traces_go(place: str, spelling: int) -> None:
    who = "ottilie.weber@spelled.example"
    text = place.format(spelled(who)[spelling])
    kept = redaction.redact_text(text, privacy_traces.identifying_strings([who]))
    assert not found_in(kept.encode(), who) and "tilie" not in kept, kept
    assert "…" in kept and kept.startswith(place.partition("{")[0])
    # What names nobody stays as it is.
    other = place.format("look at that, a=b=c&d=1 50%25 of x@ 4=5.0")
    assert redaction.redact_text(other, privacy_traces.identifying_strings([who])) == other


@given(st.text("aeu.-+=@%&#;()[] t1/?46x０＠", max_size=80))
@example("1@1@1")
@example("1@1 at a.b")
def test_any_text_is_scrubbed_once_and_for_all(text: str) -> None:
    unwanted = privacy_traces.identifying_strings(["a@e.u", "t.x@a1.e"])
    kept = redaction.redact_text(text, unwanted)
    assert redaction.redact_text(kept, unwanted) == kept


def test_scrubbing_takes_time_in_proportion_to_the_text() -> None:
    unwanted = privacy_traces.identifying_strings(["ann@example.com"])
    for pump in (
        "a",
        "=",
        "%",
        "%61",
        "a=",
        "a.",
        "&#6",
        "(a",
        " at",
        "@",
        "a@",
        "+at+",
        "-a",
        "%20",
        "+",
        " ",
        " (",
        "+at+1-",
    ):
        with processor_time.at_most(3, pump):
            redaction.redact_text(pump * (60_000 // len(pump)), unwanted)
