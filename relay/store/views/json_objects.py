"""Messages, deliveries and events as the JSON objects that scripts and programs are given (docs/api.md#objects).

Times are ISO 8601 in UTC with a final Z. A delivery's id is its message's and its number, joined by a dot.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from relay.store.database.tables import Status
from relay.store.tracking.hit_counts import HitCounts
from relay.store.tracking.pixels import PixelLogLine, PixelSummary, pixel_url
from relay.store.views.message_detail import DeliveryDetail, MessageDetail

JsonObject = dict[str, Any]  # Any: what JSON can hold


def message_object(detail: MessageDetail) -> JsonObject:
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
        "opens": sum_counts(detail.opens, *(one.opens for one in detail.deliveries))._asdict(),
        "clicks": sum_counts(detail.clicks, *(one.clicks for one in detail.deliveries))._asdict(),
        "deliveries": [delivery_object(detail.id, one) for one in detail.deliveries],
        "links": detail.links,
        "opened_by": detail.opened_by,
        "clicked_by": detail.clicked_by,
    }


def delivery_object(message_id: str, one: DeliveryDetail) -> JsonObject:
    """A message × recipient."""
    return {
        "id": delivery_id(message_id, one.number),
        "recipient": one.recipient or None,  # aggregate privacy keeps none
        "status": one.status,
        "kind": one.kind or None,
        "category": one.category or None,
        "attempts": [
            {
                "at": format_time(tried.at),
                "upstream": tried.upstream,
                "phase": tried.phase,
                "code": tried.code,
                "status": tried.status,
                "text": tried.text,
                "ms": tried.took_ms,
                "rule": tried.rule,
                "uncertain": tried.uncertain,
            }
            for tried in one.attempts
        ],
        "next_attempt_at": format_time(one.next_attempt_at),
        "delivered_at": format_time(one.delivered_at),
        "bounced_at": format_time(one.settled_at) if one.status == Status.BOUNCED else None,
        "opens": one.opens._asdict(),
        "clicks": one.clicks._asdict(),
        "opens_implied": one.opens_implied,
        "unsubscribed_at": format_time(one.unsubscribed_at),
        "complained_at": format_time(one.complained_at),
    }


def event_object(row: Mapping[Any, Any]) -> JsonObject:  # Any: a row's values
    """Something that happened. `verdict` is null where nothing was judged."""
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


def pixel_object(seen: PixelSummary, public_url: str, log: list[PixelLogLine] | None = None) -> JsonObject:
    """A stand-alone pixel, with its log where that is given."""
    address = pixel_url(public_url, seen.token)
    shown: JsonObject = {
        "id": seen.id,
        "name": seen.name,
        "url": address,
        "html": f'<img src="{address}" width="1" height="1" alt="">',
        "created_at": format_time(seen.created_at),
        "opens": seen.opens._asdict(),
        "last_at": format_time(seen.last_at),
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


def sum_counts(*tallies: HitCounts) -> HitCounts:
    return HitCounts(*map(sum, zip(*tallies, strict=True)))


def delivery_id(message_id: str, number: int) -> str:
    return f"{message_id}.{number}"


def format_time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")
