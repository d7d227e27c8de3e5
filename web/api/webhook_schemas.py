"""The objects of the API's answers about our webhooks."""

from pydantic import AwareDatetime

from relay.webhook_format import WebhookFormat
from web.api.schemas import AnswerObject


class WebhookRequestResult(AnswerObject):
    at: AwareDatetime
    code: int
    error: str | None


class WebhookObject(AnswerObject):
    id: str
    url: str
    format: WebhookFormat
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
