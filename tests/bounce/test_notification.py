"""Amazon's notifications by mail: who bounced or complained, however the JSON is wrapped, and never a crash."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.bounce import report, ses_notification
from relay.bounce.report import ReportKind

MAIL = {"destination": ["ann@example.com", "ben@example.com"], "commonHeaders": {"messageId": "<1@app.example>"}}


def bounce(kind: str, subtype: str, **notification: str) -> dict[str, object]:
    one = {"emailAddress": "Ann <ann@example.com>", **notification}
    return {
        "notificationType": "Bounce",
        "bounce": {"bounceType": kind, "bounceSubType": subtype, "bouncedRecipients": [one]},
        "mail": MAIL,
    }


def mailed(text: str) -> report.Report:
    head = "From: AWS Notifications <no-reply@sns.example>\nTo: b+t@bounces.example.org\nSubject: AWS Notification\n\n"
    return report.read_report((head + text).encode("utf-8", "replace"))


@pytest.mark.parametrize(
    ("notification", "kind", "category"),
    [
        (bounce("Permanent", "NoEmail"), "hard", "user_unknown"),
        (bounce("Permanent", "General", diagnosticCode="smtp; 550 5.1.1 user unknown"), "hard", "user_unknown"),
        (bounce("Permanent", "Suppressed", status="5.1.1"), "soft", "suppressed"),
        (bounce("Permanent", "OnAccountSuppressionList"), "soft", "suppressed"),
        (bounce("Permanent", "General", diagnosticCode="smtp; 554 5.7.1 spam detected"), "soft", "spam"),
        (bounce("Transient", "MailboxFull"), "soft", "mailbox_full"),
        (bounce("Transient", "General"), "soft", "system"),
    ],
)
def test_a_bounce_is_judged_by_what_was_said_and_by_its_type(
    notification: dict[str, object], kind: str, category: str
) -> None:
    wrapped = json.dumps({"Type": "Notification", "Message": json.dumps(notification)})
    for text in (json.dumps(notification), json.dumps(notification, indent=2), wrapped):
        read = mailed(text + "\n\n--\nTo stop receiving notifications, visit the link.\n")
        [failed] = read.recipients
        assert (read.kind, read.message_id) == (ReportKind.TEXT, "1@app.example")
        assert (failed.recipient, failed.verdict.kind, failed.verdict.category) == ("ann@example.com", kind, category)


def test_a_complaint_is_one() -> None:
    who = {"complainedRecipients": [{"emailAddress": "ann@example.com"}], "complaintFeedbackType": "abuse"}
    read = mailed(json.dumps({"eventType": "Complaint", "complaint": who, "mail": MAIL}))
    assert (read.kind, read.feedback, read.recipients[0].recipient) == (ReportKind.ARF, "abuse", "ann@example.com")
    assert read.recipients[0].verdict.suppress


def test_what_a_person_quotes_or_what_only_was_delivered_is_no_bounce() -> None:
    quoted = "What does this mean?\n> " + json.dumps(bounce("Permanent", "NoEmail"))
    delivered = json.dumps({"notificationType": "Delivery", "delivery": {}, "mail": MAIL})
    assert [mailed(text).kind for text in (quoted, delivered)] == [ReportKind.NONE, ReportKind.NONE]


VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("bouncedRecipients", "emailAddress", "status", "bounceType")), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150)
@given(st.sampled_from(("Bounce", "Complaint", "")), VALUES, VALUES)
def test_any_shape_of_json_gets_an_answer(kind: str, notification: object, mail: object) -> None:
    text = json.dumps(
        {"notificationType": kind, "bounce": notification, "complaint": notification, "Message": mail, "mail": mail}
    )
    for each in (text, text[:-1], "{" * 5000 + text, '{"notificationType":' + "[" * 50_000):
        repr(ses_notification.read_notification(each)).encode()
