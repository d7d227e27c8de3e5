"""Every event and class that a provider documents, and what comes of it: a table of words and verdicts.

A reply's own words decide; the provider's class does where there are none, and is a ceiling where the provider says
that the address is not to blame. Where nothing failed, nothing changes.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.web.provider_results import (
    COMPLAINED,
    DEAD,
    DEFERRED,
    HARD,
    NOTHING,
    UNSUBSCRIBED,
    Result,
    assert_results,
    receipt,
    soft,
)
from tests.web.providers import (
    ROOT,
    TABLES,
    fetch,
    from_amazon,
    from_mailgun,
    from_postmark,
    from_sendgrid,
    from_sparkpost,
)
from tests.web.scene import Scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Scene(tmp_path_factory.mktemp("classes"), TABLES, fetch=fetch, roots=[ROOT]) as running:
        yield running


# --- SES: bounceType and bounceSubType, delays, complaints, and mail that never left


def ses_bounce(kind: str, sub_type: str, **recipient: str) -> dict[str, Any]:
    return {"notificationType": "Bounce", "bounce": {"bounceType": kind, "bounceSubType": sub_type}, "one": recipient}


SES: list[tuple[dict[str, Any], Result]] = [
    (ses_bounce("Permanent", "General"), HARD),
    (ses_bounce("Permanent", "NoEmail"), HARD),
    (ses_bounce("Permanent", "General", status="5.1.1", diagnosticCode=f"smtp; {DEAD}", action="failed"), HARD),
    (ses_bounce("Permanent", "General", diagnosticCode="smtp; 552 5.2.2 mailbox full"), soft("mailbox_full")),
    (ses_bounce("Permanent", "General", diagnosticCode="smtp; 550 zzz qqq"), soft("undetermined")),
    (ses_bounce("Permanent", "Suppressed", status="5.1.1"), soft("suppressed")),
    (ses_bounce("Permanent", "OnAccountSuppressionList", status="5.1.1"), soft("suppressed")),
    (ses_bounce("Permanent", "UnsubscribedRecipient"), soft("suppressed")),
    (ses_bounce("Transient", "General"), NOTHING),  # an absence note
    (ses_bounce("Transient", "General", action="failed", status="4.4.7"), soft("expired")),
    (ses_bounce("Transient", "General", status="5.1.1"), soft("undetermined")),
    (ses_bounce("Transient", "MailboxFull"), soft("mailbox_full")),
    (ses_bounce("Transient", "MessageTooLarge"), soft("too_large")),
    (ses_bounce("Transient", "ContentRejected"), soft("content")),
    (ses_bounce("Transient", "AttachmentRejected"), soft("content")),
    (ses_bounce("Transient", "CustomTimeoutExceeded"), soft("expired")),
    (ses_bounce("Undetermined", "Undetermined"), soft("undetermined")),
    *(
        ({"eventType": "DeliveryDelay", "deliveryDelay": {"delayType": name}, "one": {"status": "4.4.1"}}, DEFERRED)
        for name in (
            "InternalFailure", "General", "MailboxFull", "SpamDetected", "RecipientServerError", "IPFailure",
            "TransientCommunicationFailure", "BYOIPHostNameLookupUnavailable", "Undetermined", "SendingDeferral",
        )
    ),
    *(
        ({"eventType": "Complaint", "complaint": {"complaintFeedbackType": name}}, result)
        for name, result in (
            ("abuse", COMPLAINED), ("fraud", COMPLAINED), ("other", COMPLAINED), ("", COMPLAINED),
            ("not-spam", NOTHING), ("auth-failure", NOTHING), ("virus", NOTHING),
        )
    ),
    ({"eventType": "Complaint", "complaint": {"complaintSubType": "OnAccountSuppressionList"}}, soft("suppressed")),
    ({"eventType": "Reject", "reject": {"reason": "Bad content"}}, soft("content")),
    ({"eventType": "Rendering Failure", "failure": {"errorMessage": "Attribute 'x' is not present"}}, soft("content")),
    ({"eventType": "Subscription", "subscription": {"newTopicPreferences": {"unsubscribeAll": True}}}, UNSUBSCRIBED),
    ({"eventType": "Subscription", "subscription": {"newTopicPreferences": {"unsubscribeAll": False}}}, NOTHING),
    ({"eventType": "Delivery", "delivery": {}}, NOTHING),
    *(({"eventType": name}, NOTHING) for name in ("Send", "Open", "Click", "Unheard of")),
]  # fmt: skip
_SES_LISTS = {"bounce": "bouncedRecipients", "complaint": "complainedRecipients", "deliveryDelay": "delayedRecipients"}


def test_ses(scene: Scene) -> None:
    def send(event: dict[str, Any], recipient: str, number: int) -> httpx.Response:
        said = {key: value for key, value in event.items() if key != "one"}
        now = datetime.now(UTC).isoformat()
        for key in {*_SES_LISTS, "delivery", "subscription"} & said.keys():
            said[key] = {"timestamp": now, "feedbackId": f"f{number}"} | said[key]
            if key in _SES_LISTS:
                said[key][_SES_LISTS[key]] = [{"emailAddress": recipient, **event.get("one", {})}]
            if key == "delivery":
                said[key]["recipients"] = [recipient]
        mail = {"messageId": receipt(number), "source": "app@sender.test", "timestamp": now, "destination": [recipient]}
        return from_amazon(scene, said | {"mail": mail})

    assert_results(scene, "ses", SES, send)


# --- SendGrid: event, type, bounce_classification, and why it dropped a mail

SENDGRID: list[tuple[dict[str, Any], Result]] = [
    ({"event": "bounce", "type": "bounce", "status": "5.1.1", "reason": DEAD}, HARD),
    ({"event": "bounce", "type": "bounce", "status": "", "reason": ""}, HARD),
    ({"event": "bounce", "type": "bounce", "reason": "550 zzz qqq"}, soft("undetermined")),
    ({"event": "bounce", "type": "blocked", "status": "5.1.1"}, soft("undetermined")),
    ({"event": "bounce", "type": "blocked", "reason": DEAD, "bounce_classification": "Reputation"}, soft("reputation")),
    ({"event": "bounce", "type": "expired", "reason": ""}, soft("expired")),
    (
        {
            "event": "bounce", "type": "blocked", "status": "5.0.0", "bounce_classification": "Unclassified",
            "reason": "unable to get mx info: failed to get IPs from PTR record",
        },
        soft("undetermined"),
    ),
    *(
        ({"event": "bounce", "type": "bounce", "reason": "", "bounce_classification": name}, result)
        for name, result in (
            ("Invalid Address", HARD), ("Technical", soft("system")), ("Technical Failure", soft("system")),
            ("Content", soft("content")), ("Reputation", soft("reputation")),
            ("Frequency/Volume", soft("rate_limited")), ("Frequency or Volume Too High", soft("rate_limited")),
            ("Mailbox Unavailable", soft("mailbox_full")), ("Unclassified", HARD),
        )
    ),
    *(
        ({"event": "dropped", "reason": name}, result)
        for name, result in (
            ("Bounced Address", soft("suppressed")), ("Unsubscribed Address", soft("suppressed")),
            ("Spam Reporting Address", soft("suppressed")), ("Invalid", soft("user_unknown")),
            ("Invalid SMTPAPI header", soft("protocol")),
            ("Spam Content (if Spam Checker app is enabled)", soft("spam")),
            ("Recipient List over Package Quota", soft("rate_limited")),
        )
    ),
    ({"event": "deferred", "response": "451 4.7.1 greylisted"}, DEFERRED),
    ({"event": "spamreport"}, COMPLAINED),
    ({"event": "unsubscribe"}, UNSUBSCRIBED),
    ({"event": "group_unsubscribe"}, UNSUBSCRIBED),
    *(
        ({"event": name}, NOTHING)
        for name in ("processed", "delivered", "open", "click", "group_resubscribe", "account_status_change", "")
    ),
]  # fmt: skip


def test_sendgrid(scene: Scene) -> None:
    def send(event: dict[str, Any], recipient: str, number: int) -> httpx.Response:
        known = {
            "email": recipient,
            "timestamp": int(time.time()),
            "sg_event_id": f"e{number}",
            "smtp-id": f"<{recipient}.id>",
        }
        return from_sendgrid(scene, known | event)

    assert_results(scene, "sendgrid", SENDGRID, send)


# --- Mailgun: severity and reason


def failed(reason: str, code: object = 0, message: str = "", severity: str = "permanent") -> dict[str, Any]:
    said = {"code": code, "message": message, "description": ""}
    return {"event": "failed", "severity": severity, "reason": reason, "delivery-status": said}


MAILGUN: list[tuple[dict[str, Any], Result]] = [
    (failed("generic", 550, DEAD), HARD),
    (failed("bounce", 550), HARD),
    (failed("bounce", 605), HARD),
    (failed("bounce", 550, "5.2.2 mailbox is full"), soft("mailbox_full")),
    (failed("generic", 550), HARD),
    (failed("generic", 554), soft("undetermined")),
    (failed("hardfail", 554), HARD),
    (failed("generic", 498, "No MX for exmaple.net"), ("bounced", "hard", "domain_unknown")),
    (failed("old", 602, "Too old"), soft("expired")),
    (failed("old", 602), soft("expired")),
    (failed("espblock", 554), soft("reputation")),
    (failed("greylisted", 450), soft("greylisted")),
    (failed("suppress-bounce", 605, "Not delivering to previously bounced address"), soft("suppressed")),
    (failed("suppress-unsubscribe", 606, "Not delivering to unsubscribed address"), soft("suppressed")),
    (
        failed("suppress-complaint", 607, "Not delivering to who complained"),
        soft("suppressed"),
    ),
    (failed("generic", 452, "4.2.2 full", "temporary"), DEFERRED),
    ({"event": "failed", "severity": "permanent", "reason": "generic", "delivery-status": None}, soft("undetermined")),
    ({"event": "rejected", "reject": {"reason": DEAD, "description": ""}}, soft("undetermined")),
    ({"event": "complained"}, COMPLAINED),
    ({"event": "unsubscribed"}, UNSUBSCRIBED),
    *(
        ({"event": name}, NOTHING)
        for name in ("accepted", "delivered", "opened", "clicked", "stored", "list_member_uploaded", "")
    ),
]


def test_mailgun(scene: Scene) -> None:
    def send(event: dict[str, Any], recipient: str, number: int) -> httpx.Response:
        known = {"id": f"i{number}", "timestamp": time.time(), "recipient": recipient}
        return from_mailgun(scene, known | {"message": {"headers": {"message-id": f"{recipient}.id"}}} | event)

    assert_results(scene, "mailgun", MAILGUN, send)


# --- Postmark: the types of its bounces, with the description that it sends with each

POSTMARK: list[tuple[dict[str, Any], Result]] = [
    *(
        ({"RecordType": "Bounce", "Type": name, "Description": description}, result)
        for name, result, description in (
            ("HardBounce", HARD, "Unable to deliver (ex: unknown user, mailbox not found)."),
            ("Transient", DEFERRED, "The server could not temporarily deliver your message (ex: Message is delayed)."),
            ("Unsubscribe", UNSUBSCRIBED, "Unsubscribe or Remove request."),
            ("Subscribe", NOTHING, "Subscribe request from someone wanting to get added to the mailing list."),
            ("AutoResponder", NOTHING, "Automatic email responder (ex: \"Out of Office\" or \"On Vacation\")."),
            ("AddressChange", NOTHING, "The recipient has requested an address change."),
            ("DnsError", soft("system"), "A temporary DNS error."),
            ("SpamNotification", soft("spam"), "The message was delivered, but was either blocked by the user."),
            ("OpenRelayTest", NOTHING, "The NDR is actually a test email message to see if the server is open."),
            ("Unknown", soft("undetermined"), "Unable to classify the NDR."),
            ("SoftBounce", soft("undetermined"), "Unable to temporarily deliver message (i.e. mailbox full)."),
            ("VirusNotification", soft("content"), "The bounce is actually a virus notification."),
            ("ChallengeVerification", NOTHING, "The bounce is a challenge asking for verification."),
            ("BadEmailAddress", HARD, "The address is not a valid email address."),
            ("SpamComplaint", COMPLAINED, "The subscriber explicitly marked this message as spam."),
            ("ManuallyDeactivated", soft("suppressed"), "The email was manually deactivated."),
            ("Unconfirmed", soft("suppressed"), "The subscriber has not clicked on the confirmation link."),
            ("Blocked", soft("reputation"), "Blocked from this ISP due to content or blacklisting."),
            ("SMTPApiError", soft("protocol"), "An error occurred while accepting an email through the SMTP API."),
            ("InboundError", NOTHING, "Unable to deliver inbound message to destination inbound hook."),
            ("DMARCPolicy", soft("authentication"), "Email rejected due DMARC Policy."),
            ("TemplateRenderingFailed", soft("protocol"), "An error occurred while rendering your template."),
            ("A new one", soft("undetermined"), ""),
        )
    ),
    ({"RecordType": "Bounce", "Type": "HardBounce", "Details": f"smtp;{DEAD}"}, HARD),
    ({"RecordType": "Bounce", "Type": "HardBounce", "Details": "smtp;552 5.2.2 full"}, soft("mailbox_full")),
    ({"RecordType": "SpamComplaint", "Type": "SpamComplaint"}, COMPLAINED),
    ({"RecordType": "SubscriptionChange", "SuppressSending": True, "Origin": "Recipient"}, UNSUBSCRIBED),
    ({"RecordType": "SubscriptionChange", "SuppressSending": True, "Origin": "Admin"}, NOTHING),
    ({"RecordType": "SubscriptionChange", "SuppressSending": False, "Origin": "Recipient"}, NOTHING),
    *(({"RecordType": name}, NOTHING) for name in ("Delivery", "Open", "Click", "Inbound", "")),
]  # fmt: skip


def test_postmark(scene: Scene) -> None:
    def send(event: dict[str, Any], recipient: str, number: int) -> httpx.Response:
        now = datetime.now(UTC).isoformat()
        known = {"ID": number, "MessageID": receipt(number), "Email": recipient, "Recipient": recipient}
        return from_postmark(scene, known | {"BouncedAt": now, "DeliveredAt": now, "ChangedAt": now} | event)

    assert_results(scene, "postmark", POSTMARK, send)


# --- SparkPost: its classes by number

SPARKPOST: list[tuple[dict[str, Any], Result]] = [
    *(
        ({"type": "bounce", "bounce_class": number}, result)
        for number, result in (
            ("1", soft("undetermined")), ("10", HARD), ("20", soft("undetermined")), ("21", soft("system")),
            ("22", soft("mailbox_full")), ("23", soft("too_large")), ("24", soft("expired")), ("25", soft("policy")),
            ("26", soft("suppressed")), ("30", HARD), ("40", soft("undetermined")), ("50", soft("reputation")),
            ("51", soft("reputation")), ("52", soft("spam")), ("53", soft("content")), ("54", soft("relay_denied")),
            ("60", NOTHING), ("70", soft("system")), ("80", NOTHING), ("90", UNSUBSCRIBED), ("100", NOTHING),
        )
    ),
    ({"type": "bounce", "bounce_class": 30, "raw_reason": "550 5.7.1 message blocked, spam"}, soft("spam")),
    ({"type": "bounce", "bounce_class": "10", "raw_reason": DEAD}, HARD),
    ({"type": "out_of_band", "bounce_class": "10"}, HARD),
    ({"type": "out_of_band", "bounce_class": "60", "raw_reason": "I am away"}, NOTHING),
    ({"type": "policy_rejection", "raw_reason": "550 5.7.1 recipient address suppressed"}, soft("suppressed")),
    ({"type": "generation_failure", "raw_reason": DEAD}, soft("undetermined")),
    ({"type": "generation_rejection", "bounce_class": "25"}, soft("policy")),
    ({"type": "delay", "raw_reason": "451 4.7.1 later"}, DEFERRED),
    ({"type": "spam_complaint", "fbtype": "abuse"}, COMPLAINED),
    ({"type": "spam_complaint", "fbtype": "not-spam"}, NOTHING),
    ({"type": "list_unsubscribe"}, UNSUBSCRIBED),
    ({"type": "link_unsubscribe"}, UNSUBSCRIBED),
    *(
        ({"type": name}, NOTHING)
        for name in ("injection", "delivery", "open", "initial_open", "click", "amp_click", "sms_status")
    ),
]  # fmt: skip


def test_sparkpost(scene: Scene) -> None:
    def send(event: dict[str, Any], recipient: str, number: int) -> httpx.Response:
        known = {"event_id": f"s{number}", "timestamp": str(int(time.time())), "rcpt_to": recipient}
        return from_sparkpost(scene, known | {"message_id": receipt(number)} | event)

    assert_results(scene, "sparkpost", SPARKPOST, send)
