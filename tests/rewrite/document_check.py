"""One document's way through relay.rewrite, and what became of it.

In: a Document; HTML is sent in each of the transfer encodings.  Out: an DocumentOutcome, whose complaints are empty
if every property holds.
"""

import base64
import quopri
from collections.abc import Iterator
from dataclasses import dataclass, field

from relay.mime import charset
from relay.rewrite import plan
from tests.rewrite import corpora, html_oracle
from tests.rewrite.corpora import Document
from tests.rewrite.mails import SETTINGS, make_mail, mint, undone


@dataclass(slots=True)
class DocumentOutcome:
    """What became of a document."""

    document: Document
    reasons: tuple[str, ...]
    is_untouched: bool  # no link and no pixel in it is ours
    is_kept: bool  # undoing the edits gives the input, in every encoding
    verdict: html_oracle.OracleVerdict
    complaints: list[str] = field(default_factory=list)
    passed: int = 0  # live links that went untouched with the document


def run(document: Document) -> DocumentOutcome:
    """The outcome of this document; of several encodings that of the first, and the complaints of all."""
    first, *others = [_run(document, octets) for octets in _mails(document)]
    for other in others:
        first.is_kept &= other.is_kept
        first.complaints += other.complaints
        if (other.reasons, other.verdict.right) != (first.reasons, first.verdict.right):
            first.complaints.append(f"another plan for another encoding: {first.reasons}, {other.reasons}")
    return first


def _run(document: Document, octets: bytes) -> DocumentOutcome:
    made = plan.plan(octets, SETTINGS)
    result = made.render(octets, mint)
    is_kept = undone(octets, made.edits(octets, mint), result) == octets
    before, after = corpora.leaves(octets), corpora.leaves(result)
    is_untouched = before == after and not made.links
    pages = [
        html_oracle.Page(_decoded(old, label), _decoded(new, label), charset.find_codec(label, old) or label)
        for (old, label), (new, _) in zip(before, after, strict=True)
        if old != new or (made.links and len(before) == 1)
    ]
    verdict = html_oracle.compare(pages, made)
    outcome = DocumentOutcome(document, made.reasons, is_untouched, is_kept, verdict, list(verdict.differences))
    if is_untouched:
        outcome.passed = sum(html_oracle.count(_decoded(old, label)) for old, label in before)
    if not is_kept:
        outcome.complaints.append("undoing the edits does not give what came")
    if is_untouched and not made.reasons:
        outcome.complaints.append("untouched, and no reason given")
    outcome.complaints += [reason for reason in made.reasons if reason.startswith(("fault", "verify"))]
    return outcome


def _mails(document: Document) -> Iterator[bytes]:
    if document.is_mail:
        yield document.octets
        return
    html, type_ = document.octets, b"text/html; charset=" + document.charset.encode()
    yield make_mail(html, type_=type_)
    soft = quopri.encodestring(html.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    yield make_mail(soft, type_=type_, encoding=b"quoted-printable")
    yield make_mail(base64.encodebytes(html).replace(b"\n", b"\r\n"), type_=type_, encoding=b"base64")


def _decoded(html: bytes, label: str) -> str:
    return charset.decode_text(html, charset.find_codec(label, html) or label)
