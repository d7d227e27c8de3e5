"""Messages, deliveries and events as the JSON objects that scripts and programs are given (docs/api.md#objects).

Times are ISO 8601 in UTC with a final Z. A delivery's id is its message's and its number, joined by a dot.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from relay.store.database.tables import Status
from relay.store.tracking.hit_counts import HitCounts
from relay.store.tracking.pixels import Line, Seen, url
from relay.store.views.message_detail import Delivery, Story

Object = dict[str, Any]  # Any: what JSON can hold


def message(story: Story) -> Object:
    """A message with its deliveries."""
    return {
        "id": story.id,
        "message_id": story.message_id,
        "from": story.author,
        "subject": story.subject,
        "accepted_at": time(story.accepted_at),
        "size": story.size_octets,
        "stream": story.stream,
        "tags": story.tags,
        "metadata": story.meta,
        "reasons": story.reasons,
        "opens": sum_of(story.opens, *(one.opens for one in story.deliveries))._asdict(),
        "clicks": sum_of(story.clicks, *(one.clicks for one in story.deliveries))._asdict(),
        "deliveries": [delivery(story.id, one) for one in story.deliveries],
        "links": story.links,
        "opened_by": story.opened_by,
        "clicked_by": story.clicked_by,
    }


def delivery(message_id: str, one: Delivery) -> Object:
    """A message × recipient."""
    return {
        "id": delivery_id(message_id, one.number),
        "recipient": one.recipient or None,  # aggregate privacy keeps none
        "status": one.status,
        "kind": one.kind or None,
        "category": one.category or None,
        "attempts": [
            {
                "at": time(tried.at),
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
        "next_attempt_at": time(one.next_attempt_at),
        "delivered_at": time(one.delivered_at),
        "bounced_at": time(one.settled_at) if one.status == Status.BOUNCED else None,
        "opens": one.opens._asdict(),
        "clicks": one.clicks._asdict(),
        "opens_implied": one.opens_implied,
        "unsubscribed_at": time(one.unsubscribed_at),
        "complained_at": time(one.complained_at),
    }


def event(row: Mapping[Any, Any]) -> Object:  # Any: a row's values
    """Something that happened. `verdict` is null where nothing was judged."""
    number = row["number"]
    return {
        "id": row["id"],
        "type": row["type"],
        "at": time(row["at"]),
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


def pixel(seen: Seen, public_url: str, log: list[Line] | None = None) -> Object:
    """A stand-alone pixel, with its log where that is given."""
    address = url(public_url, seen.token)
    shown: Object = {
        "id": seen.id,
        "name": seen.name,
        "url": address,
        "html": f'<img src="{address}" width="1" height="1" alt="">',
        "created_at": time(seen.created_at),
        "opens": seen.opens._asdict(),
        "last_at": time(seen.last_at),
    }
    if log is not None:
        shown["log"] = [
            {
                "first_at": time(line.first_at),
                "last_at": time(line.last_at),
                "count": line.times,
                "verdict": line.verdict,
                "reasons": line.reasons,
                "user_agent": line.user_agent or None,
                "ip": line.ip or None,
            }
            for line in log
        ]
    return shown


def sum_of(*tallies: HitCounts) -> HitCounts:
    return HitCounts(*map(sum, zip(*tallies, strict=True)))


def delivery_id(message_id: str, number: int) -> str:
    return f"{message_id}.{number}"


def time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")
