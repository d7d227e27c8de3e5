"""A provider's event as a late report about one of our deliveries.

In: an event as the provider's module has read it, and the delivery that it is about.  Out: a LateReport. A bounce is
judged by the reply that the event quotes. Where the reply says nothing, the provider's own class counts.
"""

from datetime import UTC, datetime, timedelta

from relay import ids
from relay.bounce import classify, recipient_report
from relay.bounce.classify import BounceKind, Verdict
from relay.config.schema import Config
from relay.event_type import EventType
from relay.store.queue import late_reports
from relay.store.queue.late_reports import LateReport
from relay.store.queue.queue_facts import AttemptRecord
from web.inbound import provider_event
from web.inbound.provider_event import ProviderEvent

_MAX_CLOCK_DIFFERENCE = timedelta(minutes=10)


def make_late_report(config: Config, provider: str, one: ProviderEvent, message: str, number: int) -> LateReport:
    """The report of that provider's event for the delivery of that message id and number."""
    one = one._replace(reason=provider_event.keyword(one.reason) or str(one.type))
    action = {EventType.BOUNCED: recipient_report.FAILED, EventType.DEFERRED: recipient_report.DELAYED}.get(
        one.type, ""
    )
    judged = recipient_report.judge_recipient(one.recipient, action, one.status, one.text, remote=one.remote)
    code = judged.code or (250 if one.type is EventType.DELIVERED else 0)
    reply_text = judged.text_without_code or f"{provider} says so: {one.reason}"
    now = datetime.now(UTC)
    report = LateReport(
        id=ids.new(now),
        type=one.type,
        at=min(one.at, now + _MAX_CLOCK_DIFFERENCE),
        message=message,
        number=number,
        attempt=AttemptRecord(
            upstream=f"{provider}: {one.remote}" if one.remote != provider else provider,
            phase=late_reports.REPORT_PHASE,
            code=code,
            status=judged.status,
            text=reply_text,
            took_ms=0,
        ),
        reasons=(one.reason, "report"),
        source_id=f"{provider} {one.id}" if one.id else "",
        sends_dsn=config.delivery.notices and bool(config.bounces.return_path),
    )
    if one.type is not EventType.BOUNCED:
        return report
    if one.held_by_provider:  # it was on the provider's list before, which proves nothing new about the address
        return report._replace(kind="soft", category="suppressed", rule=f"{provider}.held")
    verdict = _choose_verdict(provider, one, judged.verdict)
    return late_reports.as_failure(report, verdict, suppress_hard=config.bounces.suppress_hard)


def _choose_verdict(provider: str, one: ProviderEvent, verdict: Verdict) -> Verdict:
    """The verdict on the reply; the provider's class if the reply says nothing. Never harder than the provider says."""
    said_nothing = verdict.rule.startswith(recipient_report.UNINFORMATIVE_RULES)
    if (
        one.provider_class
        and said_nothing
        and (one.provider_class.is_specific or not any(letter.isalpha() for letter in one.text))
    ):
        verdict = _verdict_of_category(one.provider_class.category, f"{provider}.{one.reason}", verdict)
    if verdict.kind is BounceKind.HARD and not one.may_be_hard:
        category = one.provider_class.category if one.provider_class else "undetermined"
        verdict = _verdict_of_category(category, f"{provider}.{one.reason}", verdict)._replace(
            kind=BounceKind.SOFT, suppress=False
        )
    return verdict


def _verdict_of_category(category: str, rule: str, verdict: Verdict) -> Verdict:
    found = classify.CATEGORIES[category]
    return verdict._replace(
        kind=found.kind, category=category, rule=rule, suppress=found.suppress and found.kind is BounceKind.HARD
    )
