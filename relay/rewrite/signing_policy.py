"""Which signature a mail needs: whose key signs, and which of the signatures it came with our edits break.

In: the octets, the header section, the templates, and the domains that we hold keys for.  Out: a domain, or none; the
templates that take old DKIM-Signature fields out.  RFC 6376 §3.5, RFC 7489 §3.1.1.
"""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from relay import address, domain_names, edits
from relay.mime import fields
from relay.rewrite import mailboxes
from relay.rewrite.edit_templates import EditTemplate

FIELD = b"dkim-signature"
# RFC 8617: seals of those who have handled the mail before. They cover its octets as a signature does.
_SEALS = (b"arc-seal", b"arc-message-signature")
_RESULTS = b"arc-authentication-results"
_SIGNATURES = frozenset({FIELD, *_SEALS})
ALWAYS_APPLIED = frozenset({"above", "control"})  # what is done to every mail, signed or not
_NAME = re.compile(rb"^([!-9;-~]+)[ \t]*:", re.MULTILINE)


class Signature(NamedTuple):
    """An old DKIM-Signature field: its d= and how often its h= lists each name."""

    field: fields.Field
    domain: str
    names: Counter[bytes]


def existing_signatures(head: fields.Head) -> list[fields.Field]:
    """The fields that a change of the mail would break: its signatures, and the sets of ARC."""
    if _SIGNATURES.isdisjoint(head.by_name):
        return []
    return head.fields_named(FIELD) + _arc(head)


def choose_signer(octets: bytes, head: fields.Head, signing_domains: Collection[str], authors: Sequence[str]) -> str:
    """The domain whose keys sign this mail: the author's, or the nearest above it that we hold; empty for none.

    A key of example.com signs for mail.example.com: under relaxed alignment, which is DMARC's default, the two are
    one. None signs where the author is in doubt, is of several domains, or is none of `authors`, the addresses that
    the client may send as: else any account could sign for all of a shared relay's customers.
    """
    authors_of_mail = _authors(octets, head) if signing_domains else []
    domains = {_to_ascii_domain(address.domain(mailbox)) for mailbox in authors_of_mail}
    if len(domains) != 1 or not all(address.matches_any(mailbox, authors) for mailbox in authors_of_mail):
        return ""
    labels = domains.pop().split(".")
    above = (".".join(labels[n:]) for n in range(len(labels)))
    return next((domain for domain in above if domain in signing_domains), "")


def signatures_to_remove(
    octets: bytes, head: fields.Head, templates: Iterable[EditTemplate], domain: str
) -> list[EditTemplate] | None:
    """The templates that take out old signatures before the domain signs; None if it need not.

    It need not where its signature stands and the mail goes as it came. Else its old signatures go, and all that
    the templates break: RFC 6376 §4.2 would have broken ones stay, but to a filter they are marks of tampering, and
    we stand with the author, before the mail leaves our network. What our templates do not break stays.
    """
    templates = list(templates)
    touched = _EditedFields(octets, head, templates)
    old = [_parse_signature(octets, field) for field in head.fields_named(FIELD)]
    ours = {one.field.start for one in old if one.domain == domain or one.domain.endswith(f".{domain}")}
    broken = {one.field.start for one in old if touched.breaks_signature(one)}
    if all(template.why in ALWAYS_APPLIED for template in templates) and ours - broken:
        return None
    gone = [one.field for one in old if one.field.start in ours | broken]
    if not all(template.why in ALWAYS_APPLIED for template in templates):
        gone += _arc(head)  # a broken chain counts for nothing, and for its next link it is a failure
    return [EditTemplate(field.start, field.end, (), "dkim") for field in gone]


def _arc(head: fields.Head) -> list[fields.Field]:
    """The fields of the ARC sets; none where nobody has sealed."""
    seals = [field for name in _SEALS for field in head.fields_named(name)]
    return seals + head.fields_named(_RESULTS) if seals else []


class _EditedFields:
    """What the templates do to what a signature covers."""

    def __init__(self, octets: bytes, head: fields.Head, templates: list[EditTemplate]) -> None:
        self._field_counts = Counter(field.name for field in head.fields)
        self._body = any(template.start >= head.body for template in templates)
        self._changed: set[bytes] = set()
        self._added: set[bytes] = set()
        ends = [field.end for field in head.fields]
        for template in templates:
            self._added.update(_NAME.findall(edits.fill(template.pieces, lambda hole: b"").lower()))
            n = bisect_right(ends, template.start)
            while n < len(ends) and head.fields[n].start < template.end:
                self._changed.add(head.fields[n].name)
                n += 1

    def breaks_signature(self, signature: Signature) -> bool:
        """True if the signature would verify no more. A field added on top is read only where h= has room for it."""
        return (
            self._body
            or not self._changed.isdisjoint(signature.names)
            or any(signature.names[name] > self._field_counts[name] for name in self._added)
        )


def _parse_signature(octets: bytes, field: fields.Field) -> Signature:
    # RFC 6376 §3.2: tag=value; with white space anywhere. None of the values that are read here has any.
    text = re.sub(rb"\s", b"", fields.unfold_value(octets, field))
    tags = dict(tag.split(b"=", 1) for tag in text.split(b";") if b"=" in tag)
    domain = _to_ascii_domain(tags.get(b"d", b"").decode("utf-8", "replace"))
    return Signature(field, domain, Counter(tags.get(b"h", b"").lower().split(b":")))


def _authors(octets: bytes, head: fields.Head) -> list[str]:
    """The mailboxes in From; none if they cannot be told for certain."""
    found = head.fields_named(b"from")
    if len(found) != 1 or found[0].end - found[0].start > mailboxes.MAX_OCTETS:
        return []  # two From fields: programs differ in which one they show
    return mailboxes.parse_mailboxes(fields.unfold_value(octets, found[0])) or []


def _to_ascii_domain(domain: str) -> str:
    """The domain in A-labels and lower case; empty if it is none."""
    return domain_names.to_ascii(domain.rstrip(".")) or ""
