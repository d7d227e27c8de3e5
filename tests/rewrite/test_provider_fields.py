"""Other providers' fields, from an app that used them before: they are read, and removed before the mail goes on.

The invariant: a field that is no control field stays octet for octet, whatever stands around it.
"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.mime import fields
from relay.rewrite import plan, provider_dialects
from relay.rewrite.instructions import Instructions
from tests.rewrite.history import PAGE, planned, sent_fields
from tests.rewrite.mails import make_mail, mint, undone

# --- what is heard


_SMTPAPI = b"""X-SMTPAPI: {"category": ["a", "b"], "unique_args": {"Order": 17, "who": "\\u00fc"},\r
 "asm_group_id": 4711, "filters": {"opentrack": {"settings": {"enable": 0}},\r
\t"clicktrack": {"settings": {"enable": "1", "enable_text": false}}}, "to": ["x@y.example"]}"""
_MSYS = b"""X-MSYS-API: {"campaign_id": "autumn", "tags": ["a"], "metadata": {"pets": true, "name": "Spot"},\r
 "options": {"open_tracking": false, "transactional": true}}"""


@pytest.mark.parametrize(
    ("lines", "control"),
    [
        ([b"X-PM-TrackOpens: true", b"X-PM-TrackLinks: None"], Instructions("", (), {}, True, False)),
        ([b"X-PM-TrackLinks: HtmlAndText"], Instructions("", (), {}, None, True)),
        ([b"X-PM-TrackLinks: HtmlOnly"], Instructions("", (), {}, None, True, track_text=False)),
        ([b"X-PM-TrackLinks: TextOnly"], Instructions("", (), {}, None, False)),
        (
            [b"X-PM-Tag: a", b"X-PM-Metadata-Color: blue", b"X-PM-Message-Stream: news"],
            Instructions("news", ("a",), {"color": "blue"}),
        ),
        ([b"X-Mailgun-Track: no"], Instructions("", (), {}, False, False)),
        ([b"X-Mailgun-Track-Opens: yes", b"X-Mailgun-Track: no"], Instructions("", (), {}, False, False)),
        ([b"X-Mailgun-Track: yes", b"X-Mailgun-Track-Clicks: no"], Instructions("", (), {}, True, False)),
        ([b"X-Mailgun-Track-Clicks: htmlonly"], Instructions("", (), {}, None, True, track_text=False)),
        ([b"X-Mailgun-Tag: a", b"X-Mailgun-Tag: b"], Instructions("", ("a", "b"))),
        (
            [b'X-Mailgun-Variables: {"id": 2,\r\n "deep": {"x": [1]}}'],
            Instructions("", (), {"id": "2", "deep": '{"x": [1]}'}),
        ),
        ([b"X-MC-Track: opens, clicks_all"], Instructions("", (), {}, True, True, track_text=True)),
        ([b"X-MC-Track: clicks_htmlonly"], Instructions("", (), {}, False, True, track_text=False)),
        ([b"X-MC-Track: opens,clicks_textonly"], Instructions("", (), {}, True, False, track_text=False)),
        ([b"X-MC-Track: none"], Instructions("", (), {}, False, False, track_text=False)),
        ([b"X-MC-Track:"], Instructions()),
        ([b"X-MC-Tags: welcome, =?utf-8?q?gr=C3=BCn?=,"], Instructions("", ("welcome", "grün"))),
        (
            [b'X-MC-Metadata: {"id": "1"}', b'X-MC-Metadata: {"_rcpt": "a@b.example", "id": "2"}'],
            Instructions("", (), {"id": "1"}),
        ),
        ([_SMTPAPI], Instructions("4711", ("a", "b"), {"order": "17", "who": "ü"}, False, True, track_text=False)),
        ([b'X-SMTPAPI: {"category": "a"}'], Instructions("", ("a",))),
        (
            [b'x-smtpapi: {"filters":{"bypass_list_management":{"settings":{"enable":1}}}}'],
            Instructions("transactional"),
        ),
        ([_MSYS], Instructions("transactional", ("a", "autumn"), {"pets": "true", "name": "Spot"}, False)),
        ([b"X-Postal-Tag: a"], Instructions("", ("a",))),
        ([b"X-AMP: skip"], Instructions("", (), {}, False, False)),
        (
            [
                b"X-Cuttlefish-Metadata-foo_Foo: 1",
                b"X-Cuttlefish-Disable-Css-Inlining: true",
                b"X-Cuttlefish-Ignore-Deny-List: true",
            ],
            Instructions("", (), {"foo_foo": "1"}),
        ),
    ],
    ids=lambda value: value[0].partition(b":")[0].decode() if isinstance(value, list) else "",
)
def test_each_dialect_is_heard_and_goes_no_further(lines: list[bytes], control: Instructions) -> None:
    octets = make_mail(PAGE, *lines)
    assert planned(octets).control == control
    assert sent_fields(octets) == []


def test_our_own_words_win_and_then_the_first_dialect() -> None:
    octets = make_mail(PAGE, b"X-MC-Track: opens", b"X-PM-TrackOpens: false", b"X-Waypost-Track: clicks=yes")
    control = planned(octets).control
    assert (control.track_opens, control.track_clicks) == (False, True)
    assert planned(octets, dialects=("mandrill", "postmark")).control.track_opens is True


def test_a_dialect_that_is_off_is_somebody_elses_words() -> None:
    octets = make_mail(PAGE, b"X-PM-Tag: a", b'X-SMTPAPI: {"category": "b"}')
    assert planned(octets, dialects=("sendgrid",)).control.tags == ("b",)
    assert sent_fields(octets, dialects=("sendgrid",)) == [b"X-PM-Tag: a"]


def test_fields_that_name_other_people_are_not_for_the_recipients() -> None:
    lines = (
        b'X-Mailgun-Recipient-Variables: {"a@b.example": {}}',
        b"X-MC-MergeVars: {}",
        b"X-MC-BccAddress: a@b.example",
    )
    assert sent_fields(make_mail(PAGE, *lines, b"X-MC-Autotext: on")) == [b"X-MC-Autotext: on"]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{",
        b'{"category": "a"} x',
        b"[1]",
        b"null",
        b'"a"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"unique_args": ' + b'{"a":' * 900 + b"1" + b"}" * 901,
        b'{"filters": [1], "unique_args": "x", "category": {"a": 1}, "options": 3, "metadata": [], "tags": 7}',
        b'{"filters": {"opentrack": 1, "clicktrack": {"settings": []}}}',
        b'{"unique_args": {"a": "\\ud800", "": 1, "b": NaN}, "metadata": {"a": "\\ud800"}, "category": ["\\ud800", 1]}',
        b'{"asm_group_id": ' + b"9" * 5000 + b"}",
        b"=?utf-8?q?{}?=",
    ],
)
def test_json_that_says_nothing_is_removed_and_nothing_breaks(value: bytes) -> None:
    lines = [name + value for name in (b"X-SMTPAPI: ", b"X-MSYS-API: ", b"X-MC-Metadata: ", b"X-Mailgun-Variables: ")]
    octets = make_mail(PAGE, *lines)
    made = planned(octets)
    assert not any(reason.startswith("fault") for reason in made.reasons)
    assert plan.Plan.from_json(made.to_json()) == made
    json.dumps([made.control.metadata, made.control.tags], ensure_ascii=False).encode()
    assert sent_fields(octets) == []


# --- any octets

_WORDS = st.sampled_from(
    [b"{", b"}", b'"filters"', b":", b'"opentrack"', b"1", b",", b'"', b"\\", b"\r\n ", b"\r\n\t", b" ", b"[", b"]",
     b"\xff", b'"settings"', b'"enable"', b"null", b"=?utf-8?q?", b"?=", b"yes", b"no", b"opens", b"{}", b'"options"']
)  # fmt: skip
_NAMES = st.sampled_from(
    [*(row.rstrip(b"-") + b"-X" * row.endswith(b"-")
       for it in provider_dialects.DIALECTS.values() for row, _ in it.readers),
     b"X-Other", b"X-PM", b"X-MC-Other", b"Subject", b"X-Waypost", b"Bcc"]
)  # fmt: skip
_FIELDS = st.tuples(_NAMES, st.one_of(st.lists(_WORDS, max_size=12).map(b"".join), st.binary(max_size=30)))
_UPSTREAMS = st.lists(st.sampled_from(provider_dialects.NAMES), max_size=3, unique=True).map(tuple)


@given(st.lists(_FIELDS, max_size=6), _UPSTREAMS)
def test_any_header_is_heard_and_all_other_fields_stay(
    lines: list[tuple[bytes, bytes]], upstreams: tuple[str, ...]
) -> None:
    octets = b"".join(name + b": " + value + b"\r\n" for name, value in lines) + b"\r\nbody\r\n"
    made = planned(octets, *upstreams)
    assert not any(reason.startswith("fault") for reason in made.reasons)
    assert plan.Plan.from_json(made.to_json()) == made
    result = made.render(octets, mint)
    assert undone(octets, made.edits(octets, mint), result) == octets
    control = {
        row
        for name in (*provider_dialects.NAMES, provider_dialects.WAYPOST)
        for row, _ in provider_dialects.DIALECTS[name].readers
    }
    head = fields.parse_head(octets, 0, len(octets))
    rest = result
    for field in head.fields:
        is_control = field.name in control or any(row.endswith(b"-") and field.name.startswith(row) for row in control)
        if not is_control and field.name != b"bcc":
            _, found, rest = rest.partition(octets[field.start : field.end])
            assert found
    assert rest.endswith(octets[head.body :])
