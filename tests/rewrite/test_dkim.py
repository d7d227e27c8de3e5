"""Signatures: dkimpy verifies them whatever the mail; whose key signs; which old ones stay.

For every mail: the same octets and time give the same field, no line of it is over 78 octets, and it is signed
last, so that undoing the edits still gives what came.
"""

import re
from datetime import UTC, datetime
from time import process_time

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from relay.mime import fields
from relay.rewrite import dkim, plan, signing_policy
from relay.rewrite.edit_templates import EditTemplate
from tests.rewrite.keys import ED25519, OTHER, RSA, SigningKey, verdicts
from tests.rewrite.mails import PUBLIC_URL, make_mail, mint, mint_for, multipart, tracked, undone

_PAGE = b'<p>See <a href="https://a.example/?b=1">this</a>.</p>\r\n'
_WHEN = datetime(2026, 11, 12, 9, 1, tzinfo=UTC)
_SIGN = dkim.Signer([RSA, ED25519]).as_of(_WHEN)
_SETTINGS = plan.Settings(PUBLIC_URL, prepended_fields=(b"Received: x\r\n",), dkim=frozenset({"bramble.example"}))
_BOTH = [True, True]


def _signed(octets: bytes, *keys: dkim.Key) -> bytes:
    return b"".join(dkim.make_signature(octets, key, _WHEN) for key in keys) + octets


def _sent(octets: bytes, settings: plan.Settings = _SETTINGS) -> bytes:
    return plan.plan(octets, settings).render(octets, mint, sign=_SIGN)


# --- the field


@pytest.mark.parametrize("key", [RSA, ED25519])
def test_the_field_is_folded_and_says_when_and_not_who(key: SigningKey) -> None:
    field = dkim.make_signature(make_mail(_PAGE, *(b"List-%d: x" % n for n in range(9)), b"List-Id: x"), key, _WHEN)
    assert field.endswith(b"\r\n") and max(map(len, field.split(b"\r\n"))) <= 78
    [read] = fields.parse_head(field + b"\r\n", 0, len(field)).fields
    value = fields.unfold_value(field, read)
    assert b"; t=%d; " % _WHEN.timestamp() in value and b" i=" not in value and b" l=" not in value
    assert b"; c=relaxed/simple; d=bramble.example; s=%s; " % key.selector.encode() in value


def test_the_same_mail_and_time_give_the_same_octets() -> None:
    for key in (RSA, ED25519):
        assert len({dkim.make_signature(make_mail(_PAGE), key, _WHEN) for _ in range(3)}) == 1


@pytest.mark.parametrize(
    "octets",
    [
        make_mail(_PAGE),
        make_mail(b""),
        make_mail(b"\r\n\r\n\r\n"),
        make_mail(b"no line end"),
        make_mail(b"trailing  space \t \r\n  \r\n\r\n"),
        make_mail("Grüße".encode(), "Subject: Grüße".encode()),
        make_mail(_PAGE, b"X: 1\r\n\tfolded  twice  \r\n and again"),
        b"From: a@bramble.example\r\n",
        b"From: a@bramble.example\r\n\r\n",
        b"From:a@bramble.example \r\nTO: b@c.example\r\nsubject:\r\n\r\nx",
        b"From: a@bramble.example\r\nTo: one@c.example\r\nTo: two@c.example\r\n\r\nx\r\n",
        multipart(b"mixed", b"\r\nx").replace(b"MIME", b"From: a@bramble.example\r\nMIME", 1),
    ],
)
def test_odd_mail_verifies_too(octets: bytes) -> None:
    assert verdicts(_signed(octets, RSA, ED25519), RSA, ED25519) == _BOTH


# dkimpy takes vertical tabs and form feeds for white space; RFC 6376 §2.8 does not.
_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\v\f"), max_size=40).map(str.encode)
_VALUES = st.lists(_TEXT, min_size=1, max_size=3).map(b"\r\n \t".join)
_FIELDS = st.tuples(st.sampled_from([b"To", b"SUBJECT", b"Cc", b"Date", b"List-Id", b"X-Own", b"reply-to"]), _VALUES)


@given(st.lists(_FIELDS, max_size=8), st.lists(_TEXT, max_size=6), st.booleans())
def test_whatever_the_mail_its_signature_verifies(
    fields_of_mail: list[tuple[bytes, bytes]], lines: list[bytes], is_ended: bool
) -> None:
    head = b"".join(b"%s: x%s\r\n" % field for field in fields_of_mail)
    octets = b"From: a@bramble.example\r\n" + head + b"\r\n" + b"\r\n".join(lines) + b"\r\n" * is_ended
    assert verdicts(_signed(octets, ED25519), ED25519) == [True]


@pytest.mark.parametrize(
    "added", [b"From: b@c.example", b"Subject: y", b"To: b@c.example", b"Content-Type: text/plain", b"Reply-To: b@c.d"]
)
def test_no_second_field_can_be_put_above_a_signed_one(added: bytes) -> None:
    octets = _signed(make_mail(_PAGE, b"To: x@c.example", b"Reply-To: x@c.example"), ED25519)
    assert verdicts(octets, ED25519) == [True]
    assert verdicts(added + b"\r\n" + octets, ED25519) == [False]


def test_the_unsubscribe_pair_is_covered_and_so_is_the_body() -> None:
    result = _sent(make_mail(_PAGE))
    assert verdicts(result, RSA, ED25519) == _BOTH
    assert verdicts(result.replace(b"One-Click", b"One-Clock"), RSA, ED25519) == [False, False]
    assert verdicts(result.replace(b"this", b"that"), RSA, ED25519) == [False, False]


# --- the record


def test_the_record_is_split_into_strings_that_the_dns_can_hold() -> None:
    key = SigningKey("a.example", "s", rsa.generate_private_key(65537, 4096))
    name, text = dkim.dns_record(key)
    assert name == "s._domainkey.a.example" and text.startswith("v=DKIM1; k=rsa; p=MII")
    assert "".join(dkim.split_txt(text)) == text and max(map(len, dkim.split_txt(text))) == 255
    assert re.fullmatch(r"v=DKIM1; k=ed25519; p=[A-Za-z0-9+/]{43}=", dkim.dns_record(ED25519)[1])


# --- whose key


@pytest.mark.parametrize(
    ("author", "domain"),
    [
        (b"a@b.example", "b.example"),
        (b"A <a@B.Example>", "b.example"),
        (b"<a@mail.b.example>", "b.example"),
        (b"a@x.y.b.example", "y.b.example"),
        (b"a@notb.example", ""),
        (b"a@example", ""),
        (b'"a, b <x@y.example>" <a@b.example>', "b.example"),
        (b'"x@y.example"@b.example', "b.example"),
        (b'(x@y.example (deep)) a@b.example (said "so)', "b.example"),
        (b"x@y.example <a@b.example>", "b.example"),
        (b"Doe, John <a@b.example>", "b.example"),
        (b"a@b.example, c@b.example", "b.example"),
        (b"a@b.example, c@d.example", ""),
        (b"a@b.example <c@d.example> e@b.example", ""),
        (b"<a@b.example> <c@d.example>", ""),
        (b"<@x.example:a@b.example>", ""),
        (b"team: a@b.example;", ""),
        (b"a@[192.0.2.1]", ""),
        ("a@bücher.example".encode(), "xn--bcher-kva.example"),
        ("Ä <a@XN--BCHER-KVA.example>".encode("latin-1"), "xn--bcher-kva.example"),
        (b"a@b..example", ""),
        (b"a@b.example.", "b.example"),
        (b"<>", ""),
        (b"", ""),
        (b"(" * 4000 + b"a@b.example", ""),
        (b"a@b.example" + b" " * 5000, ""),
    ],
)
def test_the_nearest_domain_that_we_hold_signs(author: bytes, domain: str) -> None:
    octets = b"From: " + author + b"\r\n\r\n"
    head = fields.parse_head(octets, 0, len(octets))
    held = frozenset({"b.example", "y.b.example", "xn--bcher-kva.example"})
    assert signing_policy.choose_signer(octets, head, held, ["*"]) == domain


def test_two_authors_are_one_too_many_and_none_is_too_few() -> None:
    for octets in (
        b"From: a@bramble.example\r\n" + make_mail(_PAGE),
        make_mail(_PAGE).replace(b"From", b"Form"),
    ):
        assert plan.plan(octets, _SETTINGS).dkim == ""


def test_an_account_has_us_sign_only_for_whom_it_may_send_as() -> None:
    for authors, domain in [
        (("@bramble.example",), "bramble.example"),
        (("orla@*",), "bramble.example"),
        (("@other.example",), ""),
    ]:
        settings = plan.Settings(PUBLIC_URL, dkim=_SETTINGS.dkim, authors=authors)
        assert plan.plan(make_mail(_PAGE), settings).dkim == domain


# --- with the plan


@pytest.mark.parametrize("encoding", [b"8bit", b"quoted-printable"])
def test_rewritten_mail_is_signed_for_each_recipient(encoding: bytes) -> None:
    octets = make_mail(_PAGE, encoding=encoding)
    made = plan.plan(octets, _SETTINGS)
    results = [made.render(octets, mint_for(n), sign=_SIGN) for n in range(2)]
    assert results[0] != results[1]
    for result in results:
        assert verdicts(result, RSA, ED25519) == _BOTH


def test_the_signature_is_an_edit_like_any_other_and_a_kept_plan_gives_the_same() -> None:
    octets = make_mail(_PAGE, b"X-Waypost-Tag: a", b"Bcc: c@d.example")
    made = plan.plan(octets, _SETTINGS)
    done = made.edits(octets, mint, sign=_SIGN)
    result = made.render(octets, mint, sign=_SIGN)
    assert (done[0].start, done[0].end, done[0].why) == (0, 0, "dkim")
    assert undone(octets, done, result) == octets
    assert plan.Plan.from_json(made.to_json()) == made
    assert plan.Plan.from_json(made.to_json()).render(octets, mint, sign=_SIGN) == result


def test_who_is_not_tracked_gets_a_signature_too() -> None:
    octets = make_mail(_PAGE)
    result = plan.plan(octets, _SETTINGS).render(octets, mint, tracked=False, sign=_SIGN)
    assert octets in result and verdicts(result, RSA, ED25519) == _BOTH


def test_mail_that_we_do_not_rewrite_is_signed_where_nobody_has() -> None:
    octets = make_mail(b"just text\r\n", b"X-Waypost-Stream: transactional", type_=b"text/plain")
    result = _sent(octets)
    assert result.endswith(octets.replace(b"X-Waypost-Stream: transactional\r\n", b""))
    assert verdicts(result, RSA, ED25519) == _BOTH


def test_the_authors_old_signature_is_renewed_when_the_mail_is_rewritten() -> None:
    old = SigningKey("news.bramble.example", "old", RSA.private_key)
    octets = _signed(make_mail(_PAGE), RSA, old)
    made = plan.plan(octets, _SETTINGS)
    assert made.dkim == "bramble.example" and "already_signed" not in made.reasons
    assert tracked(made) == ["https://a.example/?b=1"]
    assert verdicts(made.render(octets, mint, sign=_SIGN), RSA, ED25519, old) == _BOTH


def test_the_authors_signature_over_mail_that_goes_as_it_came_is_kept_alone() -> None:
    octets = _signed(make_mail(b"text\r\n", b"X-Waypost-Stream: transactional", type_=b"text/plain"), RSA)
    result = _sent(octets)
    assert result == b"Received: x\r\n" + octets.replace(b"X-Waypost-Stream: transactional\r\n", b"")
    assert verdicts(result, RSA) == [True]


def test_anothers_signature_stays_where_we_do_not_break_it_beside_ours() -> None:
    octets = _signed(make_mail(b"text\r\n", type_=b"text/plain"), OTHER)
    result = _sent(octets)
    assert b"List-Unsubscribe:" in result and result.endswith(octets)
    assert verdicts(result, RSA, ED25519, OTHER) == [True, True, True]


def test_anothers_signature_that_we_break_goes() -> None:
    octets = _signed(make_mail(_PAGE), OTHER)
    assert verdicts(_sent(octets), RSA, ED25519, OTHER) == _BOTH


@pytest.mark.parametrize(
    ("names", "stays"),
    [(b"from:subject", True), (b"from:list-unsubscribe", False), (b"from : Bcc", False), (b"from:received", False)],
)
def test_a_signature_that_covers_a_field_we_add_or_remove_goes(names: bytes, stays: bool) -> None:
    old = b"DKIM-Signature: v=1; d=esp.example;\r\n h=%s; b=x\r\n" % names
    result = _sent(old + make_mail(b"text\r\n", b"Bcc: c@d.example", type_=b"text/plain"))
    assert (old in result) is stays


def test_mail_signed_by_others_passes_where_we_hold_no_key() -> None:
    octets = _signed(make_mail(_PAGE), OTHER)
    made = plan.plan(
        octets, plan.Settings(PUBLIC_URL, prepended_fields=(b"Received: x\r\n",), dkim=frozenset({"far.example"}))
    )
    assert made.reasons == ("already_signed",) and made.dkim == ""
    assert made.render(octets, mint, sign=_SIGN) == b"Received: x\r\n" + octets
    assert verdicts(b"Received: x\r\n" + octets, OTHER) == [True]


def test_a_signed_mail_whose_header_is_in_doubt_keeps_its_signature() -> None:
    octets = b"DKIM-Signature: v=1; d=bramble.example\r\nno field\r\n" + make_mail(_PAGE)
    assert plan.plan(octets, _SETTINGS).reasons == ("already_signed",)
    assert plan.plan(b"no field\r\n" + make_mail(_PAGE), _SETTINGS).dkim == "bramble.example"


@pytest.mark.parametrize("keys", [[], [OTHER]])
def test_where_signing_fails_the_mail_goes_as_it_came_with_its_old_signature(keys: list[SigningKey]) -> None:
    octets = _signed(make_mail(_PAGE), RSA)
    mail = b"Bcc: c@d.example\r\n" + octets
    made = plan.plan(mail, _SETTINGS)
    result = made.render(mail, mint, sign=dkim.Signer(keys).as_of(_WHEN))
    assert result == b"Received: x\r\n" + octets
    assert verdicts(result, RSA) == [True]


def test_a_field_that_is_changed_within_breaks_what_covers_it() -> None:
    octets = b"DKIM-Signature: d=esp.example; h=from:x-own\r\nX-Own: abc\r\n" + make_mail(b"")
    head, at = fields.parse_head(octets, 0, len(octets)), octets.index(b"b", octets.index(b"X-Own"))
    assert signing_policy.signatures_to_remove(octets, head, [EditTemplate(at, at + 1, (), "x")], "bramble.example")
    assert signing_policy.signatures_to_remove(octets, head, [EditTemplate(at, at, (b"c",), "x")], "bramble.example")
    assert not signing_policy.signatures_to_remove(
        octets, head, [EditTemplate(0, 0, (b"Y: z\r\n",), "x")], "bramble.example"
    )


def test_thousands_of_signatures_take_linear_time() -> None:
    many = b"".join(
        b"DKIM-Signature: d=esp.example; h=from:x-%d\r\nX-Waypost-Meta-%d: x\r\n" % (n, n) for n in range(9000)
    )
    octets = many + make_mail(b"text\r\n", type_=b"text/plain")
    started = process_time()
    assert plan.plan(octets, _SETTINGS).dkim
    assert process_time() - started < 2


@given(st.binary(max_size=200), st.binary(max_size=120))
def test_any_octets_have_an_answer(author: bytes, signature: bytes) -> None:
    octets = b"From:" + author + b"\r\nDKIM-Signature:" + signature + b"\r\n" + make_mail(_PAGE)
    made = plan.plan(octets, _SETTINGS)
    assert not any(reason.startswith("fault") for reason in made.reasons)
    assert made.render(octets, mint, sign=_SIGN)
