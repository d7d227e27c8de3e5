"""Mail that goes out through a provider: what the app says to it reaches it, and its own tracking is off."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.mime import fields
from relay.rewrite import json_patch, provider_dialects
from relay.rewrite.instructions import Instructions
from tests.rewrite.history import PAGE, planned, sent_fields
from tests.rewrite.mails import make_mail, mint


def _off(name: bytes, *path: str) -> object:
    """What a JSON field of the head says there."""
    found: object = json.loads(name.partition(b":")[2])
    for step in path:
        assert isinstance(found, dict)
        found = found[step]
    return found


_SMTPAPI = b"""X-SMTPAPI: {"category": ["a", "b"], "unique_args": {"Order": 17, "who": "\\u00fc"},\r
 "asm_group_id": 4711, "filters": {"opentrack": {"settings": {"enable": 0}},\r
\t"clicktrack": {"settings": {"enable": "1", "enable_text": false}}}, "to": ["x@y.example"]}"""


@pytest.mark.parametrize(
    ("name", "off"),
    [
        ("postmark", [b"X-PM-TrackOpens: false", b"X-PM-TrackLinks: None"]),
        ("mailgun", [b"X-Mailgun-Track: no", b"X-Mailgun-Track-Opens: no", b"X-Mailgun-Track-Clicks: no"]),
        ("mandrill", [b"X-MC-Track: none"]),
        ("postal", [b"X-AMP: skip"]),
        ("cuttlefish", []),
    ],
)
def test_its_own_tracking_is_turned_off(name: str, off: list[bytes]) -> None:
    assert sent_fields(make_mail(PAGE), name) == off
    untracked = make_mail(PAGE, b"X-Waypost-Track: no")
    assert sent_fields(untracked, name) == off  # what the app wants untracked, the provider must not track
    assert sent_fields(make_mail(PAGE, type_=b"application/pkcs7-mime"), name) == off
    assert sent_fields(make_mail(PAGE), name, dialects=()) == off


def test_sendgrid_and_sparkpost_are_told_in_json() -> None:
    [field] = sent_fields(make_mail(PAGE), "sendgrid")
    assert field.startswith(b"X-SMTPAPI: {")
    for name in ("opentrack", "clicktrack"):
        assert _off(field, "filters", name, "settings", "enable") == 0
    [field] = sent_fields(make_mail(PAGE), "sparkpost")
    assert field.startswith(b"X-MSYS-API: {")
    assert _off(field, "options") == {"open_tracking": False, "click_tracking": False}


def test_what_the_app_says_to_it_reaches_it_but_for_the_tracking() -> None:
    said = (
        b"X-PM-TrackOpens: true",
        b"X-PM-Tag: a",
        b"X-PM-Message-Stream: news",
        b"X-PM-Metadata-a:\r\n b",
        b"X-MC-Tags: c",
    )
    octets = make_mail(PAGE, *said)
    off = [b"X-PM-TrackOpens: false", b"X-PM-TrackLinks: None"]
    assert sent_fields(octets, "postmark") == [
        *off,
        b"X-PM-Tag: a",
        b"X-PM-Message-Stream: news",
        b"X-PM-Metadata-a: b",
    ]
    assert planned(octets, "postmark").control == Instructions("news", ("a", "c"), {"a": "b"}, True)
    assert sent_fields(octets, "mandrill", "postmark")[-1] == b"X-MC-Tags: c"  # either may serve


def test_a_json_field_is_edited_in_place_and_no_other_octet_of_it() -> None:
    octets = make_mail(PAGE, _SMTPAPI)
    result = planned(octets, "sendgrid").render(octets, mint)
    # Open tracking is off already; of the rest only the "1" of clicktrack changes.
    assert _SMTPAPI.replace(b'"1"', b"0") in result
    assert planned(octets, "sendgrid").control.tags == ("a", "b")


@pytest.mark.parametrize(
    "value",
    [
        b"{}",
        b"{ }",
        b"{\r\n }",
        b'{"a":1.10}',
        b'{\r\n "a": 1,\r\n "b": "x\r\n y"\r\n }',
        b'\r\n {"filters": {}}',
        b'{"filters": null}',
        b'{"filters": {"opentrack": {}}, "filters": {"opentrack": {"settings": {"enable": 1, "replace": "%p%"}}}}',
        b'{"filters":{"clicktrack":{"settings":{"enable":1}}},"to":["'
        + b'a@b.example",\r\n "' * 300
        + b'c@d.example"]}',
        '{"category":"grün"}'.encode(),
        b'{"category":"gr\xfcn"}',
        b'{"category": "' + b"x" * 960 + b'"}',
    ],
)
def test_the_merge_keeps_every_octet_and_the_header_its_form(value: bytes) -> None:
    octets = make_mail(PAGE, b"X-SMTPAPI: " + value, b"X-After: y")
    made = planned(octets, "sendgrid", opens=False, clicks=False)
    result = made.render(octets, mint)
    [field] = [line for line in fields.parse_head(result, 0, len(result)).fields if line.name == b"x-smtpapi"]
    merged = json.loads(fields.unfold_value(result, field).decode("latin-1"), strict=False)
    for name in ("opentrack", "clicktrack"):
        assert merged["filters"][name]["settings"]["enable"] == 0
    whole = result[field.start : field.end]
    assert all(line.strip() for line in whole.split(b"\r\n")[:-1])
    assert max(len(line) for line in whole.split(b"\r\n")) <= 998
    # Whatever stood there and is not a switch stands there still, in its order.
    before = json.loads(value.replace(b"\r\n", b"").decode("latin-1"), strict=False)
    assert {name: merged[name] for name in before if name != "filters"} == {
        name: content for name, content in before.items() if name != "filters"
    }
    assert b"\r\nX-After: y\r\n" in result


@pytest.mark.parametrize(
    "value", [b"", b"{", b'{"a": 1} x', b"[]", b"[" * 100_000, b'{"filters":' * 50_000, b"=?utf-8?q?{}?="]
)
def test_json_that_cannot_be_read_is_left_to_its_provider(value: bytes) -> None:
    octets = make_mail(PAGE, b"X-SMTPAPI: " + value, b"X-MSYS-API: " + value)
    result = planned(octets, "sendgrid", "sparkpost").render(octets, mint)
    assert b"X-SMTPAPI: " + value + b"\r\nX-MSYS-API: " + value + b"\r\n" in result
    assert result.lower().count(b"x-smtpapi") == 1


def test_signed_mail_that_is_left_alone_gets_nothing_added() -> None:
    octets = make_mail(PAGE, b"DKIM-Signature: v=1", b"X-PM-TrackOpens: true", b'X-SMTPAPI: {"category": "a"}')
    made = planned(octets, "postmark", "sendgrid")
    assert made.reasons == ("already_signed",) and made.render(octets, mint) == octets


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("smtp.sendgrid.net", "sendgrid"),
        ("smtp.eu.mailgun.org", "mailgun"),
        ("SMTP-broadcasts.postmarkapp.com.", "postmark"),
        ("smtp.mandrillapp.com", "mandrill"),
        ("smtp.eu.sparkpostmail.com", "sparkpost"),
        ("smtp.example.com", ""),
        ("notsendgrid.net", ""),
        ("sendgrid.net.example", ""),
        ("", ""),
    ],
)
def test_a_provider_is_known_by_its_servers(host: str, name: str) -> None:
    assert provider_dialects.find_by_host(host) == name


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["filters", "opentrack", "settings", "enable", "to"]), inner, max_size=3)
    ),
    max_leaves=8,
)
_MEMBERS: json_patch.Members = {
    "filters": {"opentrack": {"settings": {"enable": 0}}, "clicktrack": {"settings": {"enable": 0}}}
}


def _merged(there: object, change: object) -> object:
    if not isinstance(change, dict):
        return change
    kept = there if isinstance(there, dict) else {}
    return kept | {name: _merged(kept.get(name), content) for name, content in change.items()}


@given(st.dictionaries(st.sampled_from(["filters", "to", "a"]), _JSON, max_size=3), st.sampled_from([None, 1]))
def test_merging_sets_the_members_and_keeps_the_others(there: dict[str, object], indent: int | None) -> None:
    text = json.dumps(there, indent=indent).replace("\n", "\r\n")
    at, out = 0, ""
    for start, end, new in json_patch.set_members(text, _MEMBERS):
        out += text[at:start] + new
        at = end
    assert json.loads(out + text[at:]) == _merged(there, _MEMBERS)


_MANY = 300_000


@pytest.mark.parametrize(
    "octets",
    [
        make_mail(b"x", b"X-SMTPAPI: {}" + b"\r\nX-SMTPAPI: {}" * (_MANY // 15)),
        make_mail(b"x", b'X-SMTPAPI: {"a":' + b"[" * 900 + b"]" * 900 + b"}" + b" " * _MANY),
        make_mail(b"x", b"X-SMTPAPI: {" + b'"filters": {},' * (_MANY // 14) + b'"a": 1}'),
        make_mail(b"x", b"X-PM-Tag: " + b"=?utf-8?q?=" * 360 + b"\r\nX-PM-Tag: a" * (_MANY // 13)),
        make_mail(b"x", b"\r\n".join(b"X-PM-Metadata-%d: a" % n for n in range(_MANY // 25))),
        make_mail(b"x", b"\r\n".join([b"X-PM-Tag: " + b"=?utf-8?q?=" * 360] * (_MANY // 4000))),
    ],
    ids=range(6),
)
def test_hostile_headers_take_linear_time(octets: bytes) -> None:
    begun = time.process_time()
    for upstreams in ((), ("sendgrid", "postmark")):
        planned(octets, *upstreams)
    assert time.process_time() - begun < 3.0  # about 0.3 on a quiet machine
