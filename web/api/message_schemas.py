"""The objects of the API's answers about mail: messages, deliveries, events, the queue, links and bounces."""

from typing import Literal

from pydantic import AwareDatetime, Field

from relay.event_type import EventType
from relay.hit_verdict import VerdictName
from relay.store.database.tables import Status
from web.api.schemas import AnswerObject, HitCountsObject, LinkClicksObject


class LinkObject(AnswerObject):
    """A link of a message, in the order of the mail."""

    number: int
    url: str
    decision: Literal["tracked", "skipped"]
    reason: str
    text: str
    clicks: LinkClicksObject


class ConversationLineObject(AnswerObject):
    ms: int = Field(description="since the connection was begun")
    by: Literal["waypost", "upstream"] | None = Field(description="null: what happened, and nobody said")
    text: str = Field(description="a command or a line of a reply; never the mail or credentials")


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
    conversation: list[ConversationLineObject] = Field(
        description="what was said with the upstream: only in GET messages/ID, of attempts that did not deliver"
    )


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
    verdict: VerdictName | None
    reasons: list[str]
    url: str | None
    user_agent: str | None
    ip: str | None
    detail: str | None


class EventList(AnswerObject):
    items: list[EventObject]
    next: str | None


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


class QueueActionAnswer(AnswerObject):
    deliveries: int = Field(description="how many it was done to")


class DroppedAnswer(QueueActionAnswer):
    under_way: int = Field(description="of these, attempted just now: they may still arrive")
    notified: int = Field(description="of these, with a DSN to the reverse-path")


class ClickedLinkObject(AnswerObject):
    """A URL that was clicked, over all messages; with `message`, a link of that one."""

    url: str = Field(description="over all messages without the addresses in it, and of a long one its beginning")
    link: int | None = Field(description="with message: the link's number in it")
    clicks: LinkClicksObject
    messages: int | None = Field(
        description="in how many it was clicked; null without tag or message, where messages are not counted"
    )
    last_at: AwareDatetime = Field(description="of the last click: its hour, or its UTC day where that is not today")


class ClickedLinkList(AnswerObject):
    items: list[ClickedLinkObject]
    next: str | None
    counted_since: AwareDatetime | None = Field(description="if not all clicks are counted: from when on")
    is_cut: bool = Field(description="of some hours or days only the most clicked links are counted")


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
