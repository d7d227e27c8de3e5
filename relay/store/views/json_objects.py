"""Messages, deliveries and events as the JSON objects of the API and the command line (docs/api.md#objects).

Times are ISO 8601 in UTC with a final Z. A delivery's id is its message's and its number, joined by a dot.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from relay import moments, suppression_reason
from relay.conversation import Direction
from relay.hit_verdict import CLICK_VERDICTS
from relay.store.database.tables import Status
from relay.store.tracking.hit_counts import HitCounts

if TYPE_CHECKING:  # a command loads the list that it shows, and no other
    from relay.store.queue.attempts import AttemptDetail
    from relay.store.tracking.pixels import PixelLogLine, PixelSummary
    from relay.store.views.bounce_counts import BounceCount
    from relay.store.views.clicked_links import ClickedLink
    from relay.store.views.message_detail import DeliveryDetail, MessageDetail
    from relay.store.views.queue_list import QueueEntry

JsonObject = dict[str, Any]  # Any: what JSON can hold
_SPEAKERS = {Direction.SENT: "waypost", Direction.RECEIVED: "upstream", Direction.NOTE: None}


def message_object(detail: "MessageDetail") -> JsonObject:
    """A message with its deliveries."""
    return {
        "id": detail.id,
        "message_id": detail.message_id,
        "from": detail.author,
        "subject": detail.subject,
        "accepted_at": format_time(detail.accepted_at),
        "size": detail.size_octets,
        "stream": detail.stream,
        "tags": detail.tags,
        "metadata": detail.meta,
        "reasons": detail.reasons,
        "recipients": detail.recipients,
        "opens": detail.all_opens._asdict(),
        "clicks": detail.all_clicks._asdict(),
        "deliveries": [delivery_object(detail.id, one) for one in detail.deliveries],
        "links": detail.links,
        "opened_by": detail.opened_by,
        "clicked_by": detail.clicked_by,
    }


def delivery_object(message_id: str, one: "DeliveryDetail") -> JsonObject:
    """A message × recipient."""
    return {
        "id": delivery_id(message_id, one.number),
        "recipient": one.recipient or None,  # `[privacy] mode = "aggregate"` keeps none
        "status": one.status,
        "kind": one.kind or None,
        "category": one.category or None,
        "attempts": [attempt_object(tried) for tried in one.attempts],
        "next_attempt_at": format_time(one.next_attempt_at),
        "held_at": format_time(one.held_at) if one.next_attempt_at else None,
        "delivered_at": format_time(one.delivered_at),
        "bounced_at": format_time(one.settled_at) if one.status == Status.BOUNCED else None,
        "opens": one.opens._asdict(),
        "clicks": one.clicks._asdict(),
        "opens_implied": one.opens_implied,
        "unsubscribed_at": format_time(one.unsubscribed_at),
        "complained_at": format_time(one.complained_at),
    }


def attempt_object(attempt: "AttemptDetail") -> JsonObject:
    """An attempt. Code 0: there was no reply."""
    return {
        "at": format_time(attempt.at),
        "upstream": attempt.upstream,
        "phase": attempt.phase,
        "code": attempt.code,
        "status": attempt.status,
        "text": attempt.text,
        "ms": attempt.took_ms,
        "rule": attempt.rule,
        "uncertain": attempt.uncertain,
        "conversation": [
            {"ms": line.at_ms, "by": _SPEAKERS[line.direction], "text": line.text} for line in attempt.conversation
        ],
    }


def queue_object(one: "QueueEntry") -> JsonObject:
    """A delivery that waits."""
    return {
        "id": delivery_id(one.message, one.number),
        "message": one.message,
        "recipient": one.recipient or None,
        "from": one.author,
        "subject": one.subject,
        "stream": one.stream,
        "status": one.status,
        "kind": one.kind or None,
        "category": one.category or None,
        "accepted_at": format_time(one.accepted_at),
        "expires_at": format_time(one.expires_at),
        "attempts": one.attempts,
        "next_attempt_at": format_time(one.next_attempt_at),
        "held_at": format_time(one.held_at),
        "parked": one.is_parked,
        "under_way": one.is_under_way,
        "last_attempt": attempt_object(one.last_attempt) if one.last_attempt else None,
    }


def suppression_object(row: Mapping[Any, Any]) -> JsonObject:  # Any: a row's values
    """A suppression. `stream` is null if it holds for all mail."""
    return {
        "address": row["address"],
        "scope": row["scope"],
        "stream": row["stream"] if row["scope"] == suppression_reason.STREAM else None,
        "reason": row["reason"],
        "evidence": row["evidence"] or None,
        "message": row["message"] or None,
        "created_at": format_time(row["created_at"]),
        "expires_at": format_time(row["expires_at"]),
    }


def clicked_link_object(one: "ClickedLink") -> JsonObject:
    """A URL and its clicks over all messages."""
    counts = {name: getattr(one, name) for name in (*CLICK_VERDICTS, "unique")}
    about = {"url": one.url, "link": one.link, "clicks": counts, "messages": one.messages}
    return about | {"last_at": format_time(one.last_at)}


def bounce_count_object(one: "BounceCount") -> JsonObject:
    """Bounces of one group, and the latest of these."""
    sample = one.sample
    shown = {"at": format_time(sample.at), "message": sample.message, "text": sample.text} if sample else None
    counts = {"count": one.bounces, "delivered": one.delivered}
    return {"domain": one.domain, "category": one.category} | counts | {"sample": shown}


def event_object(row: Mapping[Any, Any]) -> JsonObject:  # Any: a row's values
    """An event. `verdict` is null if the event is no hit."""
    number = row["number"]
    return {
        "id": row["id"],
        "type": row["type"],
        "at": format_time(row["at"]),
        "message": row["message"],
        "delivery": None if number is None else delivery_id(row["message"], number),
        "recipient": row["recipient"] or None,
        "verdict": row["verdict"] or None,
        "reasons": row["reasons"],
        "url": row["url"] or None,
        "user_agent": row["user_agent"] or None,
        "ip": row["ip"] or None,
        "detail": row["detail"] or None,
    }


def pixel_object(pixel: "PixelSummary", public_url: str, log: "list[PixelLogLine] | None" = None) -> JsonObject:
    """A stand-alone pixel, with its log if that is given."""
    from relay.store.tracking import pixels

    address = pixels.pixel_url(public_url, pixel.token)
    shown: JsonObject = {
        "id": pixel.id,
        "name": pixel.name,
        "url": address,
        "html": f'<img src="{address}" width="1" height="1" alt="">',
        "created_at": format_time(pixel.created_at),
        "opens": pixel.opens._asdict(),
        "last_at": format_time(pixel.last_at),
    }
    if log is not None:
        shown["log"] = [
            {
                "first_at": format_time(line.first_at),
                "last_at": format_time(line.last_at),
                "count": line.times,
                "verdict": line.verdict,
                "reasons": line.reasons,
                "user_agent": line.user_agent or None,
                "ip": line.ip or None,
            }
            for line in log
        ]
    return shown


def refusal_object(row: Mapping[Any, Any]) -> JsonObject:
    """What a client was refused."""
    return {
        "id": row["id"],
        "at": format_time(row["at"]),
        "ip": row["ip"] or None,
        "user": row["user"] or None,
        "command": row["command"],
        "from": row["reverse_path"] or None,
        "recipient": row["recipient"] or None,
        "code": row["code"],
        "status": row["status"] or None,
        "text": row["text"],
        "count": row["count"],
    }


def audit_object(row: Mapping[Any, Any]) -> JsonObject:
    """An entry of the audit log."""
    return {
        "id": row["id"],
        "at": format_time(row["at"]),
        "door": row["door"],
        "by": row["by"],
        "origin": row["origin"] or None,
        "action": row["action"],
        "target": row["target"] or None,
        "recipient": row["recipient"] or None,
        "result": "done" if row["changed"] else "nothing",
        "count": row["changed"],
        "detail": row["detail"] or None,
    }


def sum_counts(*tallies: HitCounts) -> HitCounts:
    return HitCounts(*map(sum, zip(*tallies, strict=True)))


def delivery_id(message_id: str, number: int) -> str:
    return f"{message_id}.{number}"


def format_time(at: datetime | None) -> str | None:
    return None if at is None else moments.format_iso(at)
