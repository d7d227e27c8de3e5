"""Paths of MAIL and RCPT, addresses in their spellings, and domain names. Properties first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import address, domain_names
from tests import processor_time


@pytest.mark.parametrize(
    ("text", "mailbox", "parameters"),
    [
        ("<ann@example.com>", "ann@example.com", {}),
        (" <ann@example.com> SIZE=12 BODY=8BITMIME", "ann@example.com", {"SIZE": "12", "BODY": "8BITMIME"}),
        ("<>", "", {}),
        ("ann@example.com smtputf8", "ann@example.com", {"SMTPUTF8": ""}),
        ("<@a.example,@b.example:ann@example.com>", "ann@example.com", {}),
        ('<"ann b>c"@example.com> NOTIFY=NEVER', '"ann b>c"@example.com', {"NOTIFY": "NEVER"}),
        ('<"a\\"b"@example.com>', '"a\\"b"@example.com', {}),
        ("<ann@[192.0.2.1]>", "ann@[192.0.2.1]", {}),
        ("<ann@[IPv6:2001:db8::1]>", "ann@[IPv6:2001:db8::1]", {}),
        ("<postmaster>", "postmaster", {}),
        ("<ünï@exämple.com>", "ünï@exämple.com", {}),
        ("<=?utf-8?q?ann?=@example.com>", "=?utf-8?q?ann?=@example.com", {}),
        ("<ann..b.@docomo.example>", "ann..b.@docomo.example", {}),
        ("<a@b.example> AUTH=<>", "a@b.example", {"AUTH": "<>"}),
        # What Postfix 3.7 takes too (`strict_rfc821_envelopes = no`), tried with it.
        ("<ann@example.com.>", "ann@example.com", {}),
        ("ann@bücher.example. SMTPUTF8", "ann@bücher.example", {"SMTPUTF8": ""}),
        ('<"a b"@example.com.>', '"a b"@example.com', {}),
        ("< ann@example.com > SIZE=1", "ann@example.com", {"SIZE": "1"}),
        ("<ann @ example.com>", "ann@example.com", {}),
        ("< >", "", {}),
        ('"ann@example.com" SIZE=1', "ann@example.com", {"SIZE": "1"}),
        ('<" ann@example.com">', "ann@example.com", {}),
        ('"a b"@example.com', '"a b"@example.com', {}),
        ("<<ann@example.com>>", "ann@example.com", {}),
        ("Scanner<ann@example.com>", "ann@example.com", {}),
        # Postfix takes the words of a display name for parameters.
        ('"b@c.example" <ann@example.com> SIZE=1', "ann@example.com", {"SIZE": "1"}),
        ("Scanner Office <ann@example.com>", "ann@example.com", {}),
    ],
)
def test_paths_are_read_as_rfc_5321_writes_them(text: str, mailbox: str, parameters: dict[str, str]) -> None:
    assert address.parse_path(text) == (mailbox, parameters)


@pytest.mark.parametrize(
    "text",
    ["<ann", "<ann@>", "<@example.com>", "<ann@example.com>x", "ann", "", "<ann@exa mple.com>", "<a\rb@example.com>",
     "<ann@[300.1.1.1]>", "<ann@example.com> SIZE==", "<a@b.c> SIZE=1 SIZE=2", "<a@b@c>", "<a b@example.com>",
     "<ann@example.com..>", "<ann@.>", "<a@b.example> <c@d.example>", "a@b.example<c@d.example>", "<<ann@example.com>",
     "<ann@example.com>>", "'ann@example.com'", '"ann@example.com', "x: <ann@example.com>", '"@example.com"'],
)  # fmt: skip
def test_malformed_paths_are_refused(text: str) -> None:
    with pytest.raises(address.PathSyntaxError):
        address.parse_path(text)


@given(st.text(max_size=80))
def test_any_text_is_a_path_or_a_syntax_error(text: str) -> None:
    try:
        path = address.parse_path(text)
    except address.PathSyntaxError:
        return
    assert not set(path.mailbox) & set("\r\n\0")


def test_an_address_is_the_same_person_in_any_case() -> None:
    assert address.canonical("Ann.B@Example.COM.") == "ann.b@example.com"
    assert address.domain("ann@Example.com.") == "example.com"


@pytest.mark.parametrize(
    "spelling",
    ["ida@bücher.example", "IDA@BÜCHER.example", "ida@xn--bcher-kva.example", "Ida@XN--BCHER-KVA.EXAMPLE.",
     "ida@bu\u0308cher.example", "ida@b\u00adücher\u3002example", "ida@\uff42ücher.example"],
)  # fmt: skip
def test_an_address_is_the_same_person_in_any_spelling_of_its_domain(spelling: str) -> None:
    assert address.canonical(spelling) == "ida@xn--bcher-kva.example"
    for pattern in ("@bücher.example", "@XN--bcher-kva.example", "ida@BU\u0308CHER.example", "*@*cher-kva.example"):
        assert address.matches_any(spelling, [pattern])
    assert not address.matches_any(spelling, ["@bucher.example", "@cher.example"])


def test_what_looks_alike_is_not_the_same_person() -> None:
    spellings = [
        "a@faß.example",
        "a@fass.example",
        "a@bücher.example",
        "a@bucher.example",
        "å@b.example",
        "a@b.example",
    ]
    assert len({address.canonical(spelling) for spelling in spellings}) == len(spellings)
    assert address.canonical("u\u0308@b.example") == "ü@b.example"  # RFC 6532 §3.1: NFC


@given(st.text(max_size=300))
def test_a_domain_name_has_a_form_in_ascii_or_none(name: str) -> None:
    found = domain_names.to_ascii(name)
    if found is not None and not name.isascii():
        assert found.isascii() and not set(found) & set("<>@ \r\n/?#:")
        assert max(map(len, found.split("."))) <= 63 and domain_names.to_ascii(found) == found
    canonical = address.canonical(f"a@{name}")
    assert address.canonical(canonical) == canonical or found is None


@pytest.mark.parametrize(
    "name",
    ["".join(map(chr, range(0x4E00, 0x4E00 + 20_000))), "".join(map(chr, range(0x4E00, 0x4E00 + 900))),
     "\ufdfa" * 1000, "\u0300\u0316" * 500, "\u00ad" * 1000, "a" * 100_000, "é." * 50_000, "x." * 500],
)  # fmt: skip
def test_a_name_that_cannot_be_costs_nothing(name: str) -> None:
    with processor_time.at_most(0.5):
        assert domain_names.to_ascii(name) in (None, "")


@pytest.mark.parametrize(
    ("mailbox", "written"),
    [
        ("ann@bücher.example", "ann@xn--bcher-kva.example"),
        ('"a b"@bücher.example', '"a b"@xn--bcher-kva.example'),
        ("ann@example.com", "ann@example.com"),
        ("", ""),
        ("jürgen@bücher.example", None),
        ("ann@\u0301x.example", None),
        ("ann@x\uff1ey.example", None),  # FULLWIDTH GREATER-THAN SIGN, which UTS #46 maps to `>`
    ],
)
def test_an_address_is_written_in_ascii_where_it_can_be(mailbox: str, written: str | None) -> None:
    assert address.with_ascii_domain(address.Mailbox(mailbox)) == written
