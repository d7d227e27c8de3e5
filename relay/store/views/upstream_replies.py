"""What upstreams answered lately, from the latest attempts.

In: the database.  Out: by upstream, how many attempts there were, and the replies that were no success. Only the latest
MAX_ATTEMPTS are looked at, so that the cost does not depend on how many there are.
"""

import re
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from relay.store.database import tables

MAX_ATTEMPTS = 5000
_MAX_FAILED = 500  # of them that are looked at one by one
_MAX_REPLIES = 6  # that are shown of an upstream
RATE_SPAN = timedelta(minutes=10)
_VARYING = re.compile(r"\d+|[A-Za-z0-9._+-]{1,80}@[A-Za-z0-9.-]{1,200}|[A-Za-z0-9-]{12,200}")
_MAX_COMPARED = 300  # characters of a reply


class FailedReply(NamedTuple):
    """A reply that was no success, the latest of its like. Code 0: there was none, and the text says why."""

    at: datetime
    phase: str
    code: int
    status: str
    text: str
    message: str
    times: int  # replies like it, among the latest


class UpstreamReplies(NamedTuple):
    """The latest attempts with an upstream."""

    name: str
    attempts: int
    accepted: int
    since: datetime  # the first of them
    recent: int  # within RATE_SPAN
    failed: list[FailedReply]  # the latest first


def read_replies(connection: sa.Connection, now: datetime) -> dict[str, UpstreamReplies]:
    """By upstream, what came of the latest attempts."""
    table = tables.attempt
    latest = sa.select(table).order_by(table.c.id.desc()).limit(MAX_ATTEMPTS).subquery()
    is_recent = latest.c.at >= now - RATE_SPAN
    counts = sa.select(
        latest.c.upstream,
        sa.func.count().label("attempts"),
        sa.func.sum(sa.case((latest.c.code.between(200, 299), 1), else_=0)).label("accepted"),
        sa.func.min(latest.c.at).label("since"),
        sa.func.sum(sa.case((is_recent, 1), else_=0)).label("recent"),
    ).group_by(latest.c.upstream)
    is_failure = sa.or_(latest.c.code == 0, latest.c.code >= 400)
    failed = sa.select(latest).where(is_failure).order_by(latest.c.id.desc()).limit(_MAX_FAILED)
    replies: dict[str, dict[tuple[str, int, str, str], FailedReply]] = {}
    for row in connection.execute(failed).mappings():
        alike = replies.setdefault(row["upstream"], {})
        key = row["phase"], row["code"], row["status"], _VARYING.sub("#", row["text"][:_MAX_COMPARED])
        known = alike.get(key)
        alike[key] = (
            known._replace(times=known.times + 1)
            if known
            else FailedReply(row["at"], row["phase"], row["code"], row["status"], row["text"], row["message"], 1)
        )
    return {
        row.upstream: UpstreamReplies(
            row.upstream,
            row.attempts,
            row.accepted,
            row.since,
            row.recent,
            list(replies.get(row.upstream, {}).values())[:_MAX_REPLIES],
        )
        for row in connection.execute(counts)
    }
