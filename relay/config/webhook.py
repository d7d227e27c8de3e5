"""`[[webhook]]`: the endpoints that get events, which events, and in which format."""

from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from pydantic import Field, SecretStr, field_validator

from relay import webhook_signatures
from relay.config.base import NO_SECRET, ConfigTable
from relay.config.values import Duration, Flag, Secret, WebhookUrl
from relay.event_type import EventType
from relay.webhook_format import WAYPOST, WebhookFormat

# `*` is all of them. Written out, because type checkers need literals.
if TYPE_CHECKING:
    EventName = str
else:
    EventName = Literal[("*", *(event_type.value for event_type in EventType))]


class WebhookConfig(ConfigTable):
    url: WebhookUrl
    secret: Secret = NO_SECRET
    old_secret: Secret = NO_SECRET
    events: list[EventName] = Field(["*"], min_length=1)
    format: WebhookFormat = WAYPOST
    machines: Flag = False
    retry: list[Duration] = Field([timedelta(seconds=s) for s in (5, 300, 1800, 7200, 18_000, 36_000)], min_length=1)
    timeout: Duration = Field(timedelta(seconds=10), gt=timedelta(0), le=timedelta(seconds=60))

    @field_validator("secret", "old_secret")
    @classmethod
    def _check_signing_key(cls, secret: SecretStr) -> SecretStr:
        webhook_signatures.secret_octets(secret.get_secret_value())
        return secret
