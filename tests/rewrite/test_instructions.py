"""Control fields are read, and removed before the mail is sent."""

import base64

import pytest

from relay.mime import fields
from relay.rewrite import display_fields, plan
from relay.rewrite.instructions import Instructions
from tests.rewrite.mails import PUBLIC_URL, SETTINGS, make_mail, mint, multipart, skipped

_PAGE = b'<html><body><a href="https://a.example/">x</a></body></html>\r\n'


def _control(*field_lines: bytes) -> Instructions:
    return plan.plan(make_mail(_PAGE, *field_lines), SETTINGS).control


@pytest.mark.parametrize(
    ("value", "opens", "clicks"),
    [
        (b"opens=no, clicks=no", False, False),
        (b"opens=no", False, None),
        (b"clicks=No;opens=YES", True, False),
        (b"no", False, False),
        (b" yes ", True, True),
        (b"opens = no,\r\n clicks = yes", False, True),
        (b"perhaps", None, None),
        (b"", None, None),
        (b"opens=no, clicks=nope", False, None),
    ],
)
def test_tracking_can_be_turned_off_and_on(value: bytes, opens: bool | None, clicks: bool | None) -> None:
    control = _control(b"X-Waypost-Track: " + value)
    assert (control.track_opens, control.track_clicks) == (opens, clicks)


@pytest.mark.parametrize(
    "field",
    [
        b"X-Waypost-Track: perhaps",
        b"X-Waypost-Track: opens=nope",
        b"X-Waypost-Track: opens=no, clicks",
        b"X-Waypost-Track: open=no",
        b"X-Waypost-Trak: no",
        b"X-Waypost-Consent: sure",
        b"X-Waypost-Override-Suppression: please",
        b"X-PM-TrackOpens: nope",
        b"X-PM-TrackLinks: all",
        b"X-Mailgun-Track-Clicks: nope",
    ],
)
def test_an_instruction_that_cannot_be_read_is_a_reason_and_changes_nothing(field: bytes) -> None:
    made = plan.plan(make_mail(_PAGE, field), SETTINGS)
    assert "control_unreadable" in made.reasons
    assert made.links[0].decision == "tracked"


@pytest.mark.parametrize(
    "field",
    [b"X-Waypost-Track: ", b"X-Waypost-Track: Opens = no; clicks:YES,", b"X-Waypost-Meta-A: b", b"X-Wayposter: x",
     b"X-Waypost-Consent: Yes", b"X-Mailgun-Track: htmlonly", b"X-PM-TrackLinks: HtmlOnly"],
)  # fmt: skip
def test_an_instruction_that_is_read_is_no_reason(field: bytes) -> None:
    assert "control_unreadable" not in plan.plan(make_mail(_PAGE, field), SETTINGS).reasons


def test_what_is_turned_off_is_left_out_with_the_reason() -> None:
    made = plan.plan(make_mail(_PAGE, b"X-Waypost-Track: no"), SETTINGS)
    assert made.pixels == 0
    assert [link.reason for link in made.links] == ["clicks_off"]
    assert made.reasons == ("opens_off", "clicks_off")
    assert plan.plan(make_mail(_PAGE), plan.Settings(PUBLIC_URL, opens=False)).reasons == ("opens_off",)


def test_the_message_overrules_the_default_in_both_directions() -> None:
    settings = plan.Settings(PUBLIC_URL, opens=False, clicks=False)
    made = plan.plan(make_mail(_PAGE, b"X-Waypost-Track: yes"), settings)
    assert (made.pixels, made.links[0].decision) == (1, "tracked")


def test_tags_metadata_stream_and_expiry_are_heard() -> None:
    assert _control(
        b"X-Waypost-Tag: welcome",
        b"x-waypost-tag: =?utf-8?q?gr=C3=BCn?=",
        b"X-Waypost-Tag: welcome",
        b"X-Waypost-Meta-Order-Id: 17",
        b"X-WAYPOST-META-colour:\r\n dark\r\n red",
        b"X-Waypost-Stream: receipts",
        b"X-Waypost-Expires-In: 15m",
    ) == Instructions("receipts", ("welcome", "grün"), {"order-id": "17", "colour": "dark red"}, None, None, "15m")


def test_other_providers_words_are_understood_and_ours_win() -> None:
    assert _control(
        b"X-PM-Tag: a",
        b"X-PM-TrackOpens: false",
        b"X-PM-TrackLinks: HtmlOnly",
        b"X-PM-Metadata-id: 1",
        b"X-PM-Message-Stream: broadcast",
        b"X-Waypost-Track: opens=yes",
    ) == Instructions("broadcast", ("a",), {"id": "1"}, True, True, track_text=False)
    assert _control(
        b"X-Mailgun-Tag: b",
        b"X-Mailgun-Track: no",
        b"X-Mailgun-Track-Opens: yes",
        b'X-Mailgun-Variables: {"id": 2, "name": "x"}',
    ) == Instructions("", ("b",), {"id": "2", "name": "x"}, False, False)


def test_a_dialect_that_is_off_is_left_in_the_message() -> None:
    octets = make_mail(_PAGE, b"X-PM-Tag: a")
    made = plan.plan(octets, plan.Settings(PUBLIC_URL, dialects=()))
    assert made.control.tags == ()
    assert b"X-PM-Tag: a" in made.render(octets, mint)


def test_control_fields_and_bcc_are_removed_with_their_folded_lines_and_nothing_else() -> None:
    kept = b"To: a@b.example,\r\n c@d.example", b"X-Waypost: not ours", b"X-Bcc: x"
    gone = (
        b"X-Waypost-Tag: a,\r\n\tb",
        b"BCC: secret@d.example,\r\n more@d.example",
        b"Resent-Bcc: x@y.example",
        b"Return-Path: <x@y.example>",
        b"X-Waypost-Meta-A:",
    )
    page = make_mail(_PAGE, kept[0], gone[0], gone[1], kept[1], gone[2], gone[3], kept[2], gone[4])
    result = plan.plan(page, SETTINGS).render(page, mint)
    head, _, _ = result.partition(b"\r\n\r\n")
    assert head.endswith(make_mail(_PAGE, *kept).partition(b"\r\n\r\n")[0])


def test_what_begins_with_our_name_goes_no_further_though_we_do_not_know_it() -> None:
    octets = make_mail(_PAGE, b"X-Waypost-Trak: no", b"X-Wayposter: stays")
    header = plan.plan(octets, SETTINGS).render(octets, mint).partition(b"\r\n\r\n")[0]
    assert b"Trak" not in header and b"X-Wayposter: stays" in header


def test_bcc_inside_a_part_is_the_parts_own() -> None:
    octets = multipart(
        b"mixed", b"Content-Type: message/rfc822\r\n\r\nBcc: x@y.example\r\nX-Waypost-Tag: a\r\n\r\nhello"
    )
    assert plan.plan(octets, SETTINGS).is_untouched


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"plain", "plain"),
        (b"=?utf-8?B?SGVyYnN0?=", "Herbst"),
        (b"=?ISO-2022-JP?B?GyRCR2MkJEoqGyhC?=", "買い物"),
        (b"=?utf-8?q?gr=C3=BCn?= und =?utf-8?q?rot?=", "grün und rot"),
        (b"=?nosuch?q?x?=", "x"),
        (b"=?utf-8?B?a?=", "=?utf-8?B?a?="),
        (b"=?utf-\xe98?q?x?=", "=?utf-é8?q?x?="),
        (b"raw \xc3\xbc", "raw ü"),
        (b"raw \xfc", "raw ü"),
        (b"a\x00b\x1b[31m", "a b [31m"),
        (b"x" * 5000, "x" * 500),
    ],
)
def test_facts_are_decoded_for_display(value: bytes, text: str) -> None:
    assert display_fields.decode_header_text(value) == text


def test_facts_of_a_message() -> None:
    made = plan.plan(make_mail(_PAGE, b"Message-ID: <a@b.example>"), SETTINGS)
    assert made.facts == display_fields.DisplayFields("Kettle", "Orla <orla@bramble.example>", "<a@b.example>")
    assert plan.plan(b"", SETTINGS).facts == display_fields.DisplayFields()


def test_fields_are_spans_with_their_folded_lines() -> None:
    octets = b"A: 1\r\nB:2\r\n 3\r\n\t4\r\njunk\r\nC : 5\r\n\r\nD: 6\r\n"
    head = fields.parse_head(octets, 0, len(octets))
    assert [(f.name, octets[f.start : f.end]) for f in head.fields] == [
        (b"a", b"A: 1\r\n"),
        (b"b", b"B:2\r\n 3\r\n\t4\r\n"),
        (b"c", b"C : 5\r\n"),
    ]
    assert head.is_malformed
    assert [fields.unfold_value(octets, f) for f in head.fields] == [b"1", b"2 3\t4", b"5"]
    assert octets[head.body :] == b"D: 6\r\n"


def test_a_long_field_in_encoded_words_is_obeyed() -> None:
    said = '{"unique_args": {"store": "é%s"}, "filters": {"opentrack": {"settings": {"enable": 0}}}}' % (3000 * "x")
    words = [base64.b64encode(said[at : at + 40].encode()).decode() for at in range(0, len(said), 40)]
    field = "X-SMTPAPI: " + "\r\n ".join(f"=?UTF-8?B?{word}?=" for word in words)
    made = plan.plan(make_mail(b"<p>x</p>", field.encode()), SETTINGS)
    assert made.pixels == 0
    assert "control_unreadable" not in made.reasons
    assert made.control.metadata["store"].startswith("éxxx")


def test_a_field_that_cannot_be_read_and_may_forbid_tracking_does() -> None:
    made = plan.plan(make_mail(b'<a href="https://a.example/">x</a>', b'X-SMTPAPI: {"filters": {"open'), SETTINGS)
    assert made.pixels == 0
    assert skipped(made) == ["clicks_off"]
    assert "control_unreadable" in made.reasons
