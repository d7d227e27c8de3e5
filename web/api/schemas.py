"""The objects of the API's answers, as the description shows them (docs/api.md#objects).

`relay.store.views.json_objects` makes the objects; these models say what is in them. They have no behaviour. The tests
hold every answer against them.
"""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from relay.event_type import EventType
from relay.store.database.tables import Status


class AnswerObject(BaseModel):
    """An object of an answer: it has these fields and no others."""

    model_config = ConfigDict(extra="forbid", json_schema_serialization_defaults_required=True)


class ErrorDetail(AnswerObject):
    code: str = Field(examples=["bad_request", "not_found"])
    message: str


class ErrorAnswer(AnswerObject):
    error: ErrorDetail


class HitCountsObject(AnswerObject):
    """Hits by verdict."""

    human: int
    proxied: int = Field(description="a person, behind a mail provider's image proxy")
    machine: int
    unknown: int


class LinkClicksObject(AnswerObject):
    human: int
    machine: int
    unknown: int
    unique: int = Field(description="recipients of whom a person clicked")


class LinkObject(AnswerObject):
    """A link of a message, in the order of the mail."""

    number: int
    url: str
    decision: Literal["tracked", "skipped"]
    reason: str
    text: str
    clicks: LinkClicksObject


class AttemptObject(AnswerObject):
    at: AwareDatetime
    upstream: str
    phase: str
    code: int = Field(description="0: there was no reply")
    status: str = Field(description="the enhanced status code")
    text: str
    ms: int
    rule: str = Field(description="the rule that decided what the reply means")
    uncertain: bool = Field(description="no reply came after the dot: the mail may have arrived")


class DeliveryObject(AnswerObject):
    """A message to one recipient."""

    id: str
    recipient: str | None
    status: Status
    kind: str | None
    category: str | None
    attempts: list[AttemptObject]
    next_attempt_at: AwareDatetime | None
    held_at: AwareDatetime | None
    delivered_at: AwareDatetime | None
    bounced_at: AwareDatetime | None
    opens: HitCountsObject
    clicks: HitCountsObject
    opens_implied: int
    unsubscribed_at: AwareDatetime | None
    complained_at: AwareDatetime | None


class MessageObject(AnswerObject):
    id: str
    message_id: str
    author: str = Field(alias="from")
    subject: str
    accepted_at: AwareDatetime
    size: int = Field(description="octets")
    stream: str
    tags: list[str]
    metadata: dict[str, str]
    reasons: list[str]
    recipients: int = Field(description="deliveries, also where not all are listed")
    opens: HitCountsObject
    clicks: HitCountsObject
    deliveries: list[DeliveryObject]
    links: list[LinkObject]
    opened_by: int
    clicked_by: int


class MessageList(AnswerObject):
    items: list[MessageObject]
    next: str | None


class ResentAnswer(AnswerObject):
    message: str = Field(description="the new message's id")
    recipients: list[str]


class DeletedAnswer(AnswerObject):
    deleted: int


class EventObject(AnswerObject):
    id: str
    type: EventType
    at: AwareDatetime
    message: str
    delivery: str | None
    recipient: str | None
    verdict: Literal["human", "proxied", "machine", "unknown"] | None
    reasons: list[str]
    url: str | None
    user_agent: str | None
    ip: str | None
    detail: str | None


class EventList(AnswerObject):
    items: list[EventObject]
    next: str | None


class SuppressionObject(AnswerObject):
    address: str
    scope: Literal["all", "stream"]
    stream: str | None
    reason: Literal["hard_bounce", "unsubscribe", "complaint", "manual"]
    evidence: str | None
    message: str | None
    created_at: AwareDatetime
    expires_at: AwareDatetime | None


class SuppressionList(AnswerObject):
    items: list[SuppressionObject]
    next: str | None


class AddedAnswer(AnswerObject):
    added: int
    known: int = Field(description="entries that were there already, or twice in the request")


class RemovedAnswer(AnswerObject):
    removed: int


class QueueObject(AnswerObject):
    """A delivery that waits."""

    id: str
    message: str
    recipient: str | None
    author: str = Field(alias="from")
    subject: str
    stream: str
    status: Status
    kind: str | None
    category: str | None
    accepted_at: AwareDatetime
    expires_at: AwareDatetime
    attempts: int
    next_attempt_at: AwareDatetime
    held_at: AwareDatetime | None
    parked: bool = Field(description="it ended its process three times and waits for an operator")
    under_way: bool
    last_attempt: AttemptObject | None


class QueueList(AnswerObject):
    items: list[QueueObject]
    next: str | None


class ClickedLinkObject(AnswerObject):
    """A URL that was clicked, over all messages."""

    url: str
    clicks: LinkClicksObject
    messages: int
    last_at: AwareDatetime


class ClickedLinkList(AnswerObject):
    items: list[ClickedLinkObject]
    next: str | None
    counted_since: AwareDatetime | None = Field(description="if not all clicks are counted: from when on")


class BounceSample(AnswerObject):
    """The latest bounce of a group."""

    at: AwareDatetime
    message: str
    text: str = Field(description="the reply")


class BounceCountObject(AnswerObject):
    """Bounces of one group. A field by which they are not grouped is null."""

    domain: str | None
    category: str | None
    count: int
    delivered: int | None = Field(description="by domain alone: deliveries to it")
    sample: BounceSample | None


class BounceCountList(AnswerObject):
    items: list[BounceCountObject]
    next: str | None


class QueueActionAnswer(AnswerObject):
    deliveries: int = Field(description="how many it was done to")


class DroppedAnswer(QueueActionAnswer):
    under_way: int = Field(description="of these, attempted just now: they may still arrive")
    notified: int = Field(description="of these, with a DSN to the reverse-path")


class ApiKeyObject(AnswerObject):
    name: str
    scopes: list[str]
    created_at: AwareDatetime
    expires_at: AwareDatetime | None
    used_at: AwareDatetime | None


class ApiKeyWithSecret(ApiKeyObject):
    key: str


class ApiKeyList(AnswerObject):
    items: list[ApiKeyObject]
    next: str | None


class UpstreamHealth(AnswerObject):
    name: str
    state: Literal["up", "down", "unknown"]
    down_since: AwareDatetime | None
    fault: str | None
    at: AwareDatetime | None = Field(description="when a mail process last reported")
    connections: int
    waiting: int


class QueueHealth(AnswerObject):
    waiting: int = Field(description="deliveries")
    due: int
    held: int
    parked: int
    oldest_at: AwareDatetime | None = Field(description="when the oldest message that waits was accepted")
    oldest_s: float = Field(description="its age")


class WebhookHealth(AnswerObject):
    id: str
    url: str
    state: str
    waiting: int
    failing_since: AwareDatetime | None


class HealthAnswer(AnswerObject):
    status: Literal["ok", "degraded"]
    problems: list[str]
    version: str
    mode: Literal["sandbox", "inline", "queued"]
    at: AwareDatetime
    upstreams: list[UpstreamHealth]
    queue: QueueHealth
    webhooks: list[WebhookHealth]


class PixelLogObject(AnswerObject):
    first_at: AwareDatetime
    last_at: AwareDatetime
    count: int
    verdict: str
    reasons: list[str]
    user_agent: str | None
    ip: str | None


class PixelObject(AnswerObject):
    id: str
    name: str
    url: str
    html: str
    created_at: AwareDatetime
    opens: HitCountsObject
    last_at: AwareDatetime | None


class PixelWithLog(PixelObject):
    log: list[PixelLogObject]


class PixelList(AnswerObject):
    items: list[PixelObject]
    next: str | None


class ConsentAnswer(AnswerObject):
    address: str
    consent: bool | None
    source: str | None
    at: AwareDatetime | None
    tracked: bool


class WebhookRequestResult(AnswerObject):
    at: AwareDatetime
    code: int
    error: str | None


class WebhookObject(AnswerObject):
    id: str
    url: str
    format: Literal["waypost", "postmark", "sendgrid", "mailgun"]
    events: list[str]
    machines: bool
    source: str
    state: str
    reason: str | None
    created_at: AwareDatetime
    failing_since: AwareDatetime | None
    waiting: int
    last: WebhookRequestResult | None
    public_key: str | None


class WebhookWithSecret(WebhookObject):
    secret: str


class WebhookList(AnswerObject):
    items: list[WebhookObject]
    next: str | None


class WebhookLoggedRequest(AnswerObject):
    headers: dict[str, str]
    body: str


class WebhookLogObject(AnswerObject):
    id: str
    event: str
    type: str
    message: str
    at: AwareDatetime
    attempt: int
    code: int
    error: str | None
    ms: int
    next_attempt_at: AwareDatetime | None
    request: WebhookLoggedRequest
    response: str


class WebhookLogList(AnswerObject):
    items: list[WebhookLogObject]
    next: str | None


class ReplayAnswer(AnswerObject):
    replayed: int
