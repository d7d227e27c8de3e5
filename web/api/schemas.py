"""The objects of the API's answers, as the description shows them (docs/api.md#objects).

`relay.store.views.json_objects` makes the objects; these models say what is in them. They have no behaviour. The tests
hold every answer against them. The objects of messages are in `message_schemas`, those of webhooks in
`webhook_schemas`.
"""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from relay.suppression_reason import SuppressionReason, SuppressionScope


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


class SuppressionObject(AnswerObject):
    address: str
    scope: SuppressionScope
    stream: str | None
    reason: SuppressionReason
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


DoorName = Literal["console", "api", "command_line"]  # as audit_log.Door has them


class AuditObject(AnswerObject):
    id: str
    at: AwareDatetime
    door: DoorName
    by: str = Field(description="an account, an API key, or a user of the machine")
    origin: str | None = Field(description="an IP address; of the command line, the machine's name")
    action: str = Field(examples=["queue.drop", "suppression.add"])
    target: str | None
    recipient: str | None
    result: Literal["done", "nothing"] = Field(description="nothing: there was nothing to change")
    count: int
    detail: str | None


class AuditList(AnswerObject):
    items: list[AuditObject]
    next: str | None


class UpstreamHealth(AnswerObject):
    name: str
    state: Literal["up", "down", "unknown"]
    down_since: AwareDatetime | None
    fault: str | None
    at: AwareDatetime | None = Field(description="when a mail process last reported")
    connections: int
    waiting: int
    tried: bool = Field(description="false: it is up as far as is known, but no mail process has connected to it yet")
    connected_at: AwareDatetime | None = Field(description="when a mail process last opened a connection to it")


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
