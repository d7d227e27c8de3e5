"""Roll-ups: what happened, counted in the commit in which it happened, and the same when it is counted anew.

Whatever is recorded, in whatever order: the roll-ups are what a rebuild makes of the events.
"""

from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from relay import ids
from relay.event_type import EventType
from relay.store import retention, roll_up_rebuild
from relay.store.database import roll_ups, tables
from relay.store.database.roll_up_tables import roll_up, roll_up_change
from relay.store.database.roll_ups import RollUpKey
from relay.store.database.tables import Status
from relay.store.queue import deliveries, outcomes
from relay.store.queue.queue_facts import AttemptRecord, Outcome
from relay.store.store import Store
from relay.store.tracking import hits, reclassification
from relay.store.tracking.hit_facts import Hit
from relay.store.views import clicked_links, statistics
from relay.store.views.clicked_links import LinkFilter
from relay.store.views.statistics import Selection
from tests.message_factory import NOW, insert_messages, new_message
from tests.user_agents import PHONE


def counts(opened: Store, period: str = roll_ups.HOUR) -> dict[RollUpKey, tuple[int, int]]:
    """All counts but those that are zero, folded or not."""
    names = RollUpKey._fields
    found: dict[RollUpKey, tuple[int, int]] = {}
    with opened.connect() as connection:
        rows = list(connection.execute(sa.select(roll_up).where(roll_up.c.period == period)).mappings())
        rows += connection.execute(sa.select(roll_up_change)).mappings()
    for row in rows:
        start = row["start"] if period == roll_ups.HOUR else row["start"].replace(hour=0)
        key = RollUpKey(**{name: row[name] for name in names})._replace(start=start)
        one, other = found.get(key, (0, 0))
        found[key] = (one + row["count"], other + row["uniques"])
    return {key: value for key, value in found.items() if any(value)}


def totals(opened: Store, **selection: Any) -> statistics.Totals:  # Any: of a Selection
    with opened.connect() as connection:
        return statistics.read_totals(connection, Selection(NOW - timedelta(days=3), **selection))


def groups(opened: Store, by: str, **selection: Any) -> dict[Any, statistics.Totals]:  # Any: as above
    with opened.connect() as connection:
        return statistics.read_groups(connection, Selection(NOW - timedelta(days=3), **selection), by)


def record(opened: Store, message: str, status: Status, *, number: int = 0, to: str, category: str = "") -> None:
    attempt = AttemptRecord("up", "rcpt", 550 if category else 250, "", "", 1)
    outcome = Outcome(ids.new(NOW), number, to, status, NOW, category=category, attempt=attempt)
    opened.writer.submit(lambda connection: outcomes.record_outcomes(connection, message, [outcome])).result(60)


def hit(
    opened: Store, message: str, type_: EventType, *, number: int | None = 0, at: datetime = NOW, **values: Any
) -> None:
    one = Hit(ids.new(at), type_, at, message, number, **{"verdict": "human", "user_agent": PHONE} | values)
    opened.writer.submit(partial(hits.record_hit, hit=one)).result(60)


def fold(opened: Store) -> None:
    opened.writer.submit(roll_ups.fold, begins_commit=True).result(60)


def rebuild(opened: Store) -> int:
    after, events = None, 0
    while True:
        work = partial(roll_up_rebuild.rebuild_next_hours, after=after)
        step = opened.writer.submit(work, begins_commit=True).result(60)
        events, after = events + step.events, step.until
        if after is None:
            return events


def play(opened: Store) -> str:
    """A day in the life of a store: some of everything. Returns a message."""
    news = new_message("ann@Example.com", "bob@example.org", "eve@bücher.example", stream="news")
    news.message.tags = ["weekly", "eu"]
    late = new_message("zoe@example.com", at=NOW - timedelta(days=1))
    notice = new_message("app@sender.test", stream=roll_ups.NOTICE_STREAM)
    insert_messages(opened, news, late, notice)
    record(opened, news.message.id, Status.DELIVERED, to="ann@Example.com")
    record(opened, news.message.id, Status.BOUNCED, number=1, to="bob@example.org", category="user_unknown")
    record(opened, news.message.id, Status.DELIVERED, number=2, to="eve@bücher.example")
    record(opened, late.message.id, Status.DEFERRED, to="zoe@example.com", category="greylisted")
    record(opened, late.message.id, Status.EXPIRED, to="zoe@example.com", category="expired")
    record(opened, notice.message.id, Status.DELIVERED, to="app@sender.test")
    minutes = (NOW + timedelta(hours=n) for n in range(1, 9))
    hit(opened, news.message.id, EventType.CLICKED, at=next(minutes), link=1, url="https://a.example/")
    hit(opened, news.message.id, EventType.OPENED, at=next(minutes), verdict="proxied")
    hit(opened, news.message.id, EventType.OPENED, at=next(minutes))
    hit(opened, news.message.id, EventType.OPENED, at=next(minutes), verdict="machine", number=2)
    hit(opened, news.message.id, EventType.CLICKED, at=next(minutes), link=2, url="https://b.example/", number=2)
    hit(opened, news.message.id, EventType.CLICKED, at=next(minutes), number=None)
    hit(opened, news.message.id, EventType.UNSUBSCRIBED, at=next(minutes))
    return news.message.id


def test_what_happened_is_counted_by_stream_tag_domain_and_category(opened: Store) -> None:
    play(opened)
    for _ in range(2):
        found = totals(opened)
        assert (found.accepted, found.delivered, found.deferred, found.unsubscribed) == (2, 2, 1, 1)
        assert (found.bounced, found.expired, found.categories) == (1, 1, {"user_unknown": 1}), "they are told apart"
        assert (found.opened_by, found.clicked_by, found.opens.proxied, found.opens.machine) == (2, 2, 1, 1)
        assert totals(opened, stream="notice").delivered == 1, "our own notices stand apart"
        assert set(groups(opened, statistics.STREAM)) == {"", "news"}
        assert {name: one.delivered for name, one in groups(opened, statistics.TAG).items()} == {"weekly": 2, "eu": 2}
        domains = groups(opened, statistics.DOMAIN)
        assert {name for name, one in domains.items() if one.delivered} == {"example.com", "xn--bcher-kva.example"}
        assert domains["example.org"].categories == {"user_unknown": 1}
        assert groups(opened, statistics.CATEGORY)["greylisted"].deferred == 1
        assert totals(opened, tag="eu").bounced == totals(opened, domain="example.org").bounced == 1
        fold(opened)  # and the same is counted when the changes have been folded


def test_hours_and_days_add_up_to_the_whole(opened: Store) -> None:
    play(opened)
    for _ in range(2):
        whole = totals(opened)
        for by in (roll_ups.HOUR, roll_ups.DAY, statistics.STREAM):
            parts = groups(opened, by).values()
            assert sum(one.opens.total for one in parts) == whole.opens.total
            assert sum(one.accepted for one in parts) == whole.accepted
        days = groups(opened, roll_ups.DAY)
        assert days[NOW.replace(hour=0) - timedelta(days=1)].accepted == 1
        # A span that begins and ends within a day is read by its hours.
        assert totals(opened, end=NOW + timedelta(hours=2)).clicks.total == 1
        fold(opened)


def test_a_rebuild_makes_the_same_counts_again(opened: Store) -> None:
    play(opened)
    hour, day = counts(opened), counts(opened, roll_ups.DAY)
    opened.writer.submit(
        lambda connection: connection.execute(
            sa.insert(roll_up_change), RollUpKey("", NOW, "x", "", "opened", "")._asdict() | {"count": 9, "uniques": 9}
        )
    ).result(60)
    fold(opened)
    assert counts(opened) != hour
    with opened.connect() as connection:
        events = connection.scalar(sa.select(sa.func.count()).select_from(tables.event))
    assert rebuild(opened) >= (events or 0)
    assert (counts(opened), counts(opened, roll_ups.DAY)) == (hour, day)
    fold(opened)
    assert (counts(opened), counts(opened, roll_ups.DAY)) == (hour, day)


def test_a_verdict_that_changes_moves_its_hour(opened: Store) -> None:
    message = play(opened)
    before = totals(opened)
    # Three links within two seconds: a machine, and so are the clicks before.
    later = NOW + timedelta(days=1)
    for n in range(5):
        hit(
            opened,
            message,
            EventType.CLICKED,
            at=later + timedelta(milliseconds=n),
            link=n + 3,
            number=1,
            ip="192.0.2.1",
        )
    after = totals(opened)
    assert (after.clicks.human, after.clicked_by) == (before.clicks.human, before.clicked_by)
    assert after.clicks.machine == before.clicks.machine + 5 and after.opens.human == before.opens.human
    expected = counts(opened)
    rebuild(opened)
    assert counts(opened) == expected


def test_the_same_fact_twice_counts_once_and_a_failed_one_not_at_all(opened: Store) -> None:
    one = new_message("ann@example.com")
    insert_messages(opened, one, one)

    def fails(connection: sa.Connection) -> None:
        deliveries.insert_message(connection, new_message("bob@example.com"))
        raise KeyError("mine")

    done = [
        opened.writer.submit(fails),
        opened.writer.submit(partial(deliveries.insert_message, new=new_message("c@d.test"))),
    ]
    with pytest.raises(KeyError):
        done[0].result(60)
    done[1].result(60)
    assert totals(opened).accepted == 2


def test_a_message_whose_client_was_refused_is_not_counted(opened: Store) -> None:
    one = new_message("ann@example.com")
    insert_messages(opened, one)
    fold(opened)
    opened.writer.submit(lambda connection: retention.drop_refused_message(connection, one.message.id)).result(60)
    assert counts(opened) == {} and totals(opened) == statistics.Totals()


def test_counts_outlive_their_mail_and_end_by_their_own_age(opened: Store) -> None:
    insert_messages(opened, new_message("ann@example.com", status=Status.DELIVERED, at=NOW - timedelta(days=2)))
    fold(opened)
    assert opened.writer.submit(partial(retention.drop_messages, before=NOW)).result(60) == 1
    assert totals(opened).accepted == 1
    assert rebuild(opened) == 0 and totals(opened).accepted == 1, "there are no events to count anew"
    assert opened.writer.submit(partial(retention.drop_roll_ups, before=NOW)).result(60)
    assert totals(opened).accepted == 0


def test_judging_all_hits_again_moves_the_counts_with_them(opened: Store) -> None:
    play(opened)
    before = counts(opened)
    with opened.connect() as connection:
        step = reclassification.review_hits(connection, None, None)
    work = partial(reclassification.reclassify_deliveries, deliveries=step.outdated_hits)
    assert step.after is None and opened.writer.submit(work).result(60)  # by their user agent they are a phone's
    with opened.connect() as connection:
        assert reclassification.review_hits(connection, None, None).outdated_hits == []
    moved = counts(opened)
    assert moved != before and totals(opened).opens.machine == totals(opened).opens.proxied == 0
    rebuild(opened)
    assert counts(opened) == moved


def links(opened: Store, **filters: Any) -> list[tuple[str, int, int, int]]:  # Any: of a LinkFilter
    """URL, clicks by people and by machines, and recipients."""
    with opened.connect() as connection:
        found = clicked_links.list_clicked_links(connection, LinkFilter(**filters), 50, now=NOW + timedelta(days=2))
    return [(one.url, one.human, one.machine, one.unique) for one in found.items]


def test_clicks_are_counted_by_link_and_a_recipient_once_for_each(opened: Store) -> None:
    message = new_message("ann@example.com", "bob@example.com", stream="news", at=NOW - timedelta(days=9))
    insert_messages(opened, message)
    for minute, number, link in ((1, 0, "a"), (2, 0, "a"), (3, 0, "b"), (4, 1, "a"), (1500, 1, "a")):
        url, at = f"https://shop.example/{link}?of=ann@example.com", NOW + timedelta(minutes=minute)
        hit(
            opened, message.message.id, EventType.CLICKED, at=at, number=number, link=ord(link), url=url, ip="192.0.2.1"
        )
    counted = [("https://shop.example/a?of=…", 4, 0, 2), ("https://shop.example/b?of=…", 1, 0, 1)]
    for _ in range(3):
        assert links(opened) == links(opened, stream="news") == counted
        assert links(opened, stream="other") == links(opened, until=NOW) == []
        assert links(opened, since=NOW + timedelta(days=1)) == [("https://shop.example/a?of=…", 1, 0, 0)]
        assert links(opened, until=NOW + timedelta(hours=1)) == [(counted[0][0], 3, 0, 2), counted[1]]
        fold(opened)
        rebuild(opened)
    # Three links within two seconds: a machine's, and the recipient is none of theirs any more.
    for n in range(5):
        at, url = NOW + timedelta(minutes=3, milliseconds=n), f"https://shop.example/{n}"
        hit(opened, message.message.id, EventType.CLICKED, at=at, number=0, link=n + 1, url=url, ip="192.0.2.1")
    moved, hours = links(opened), counts(opened)
    assert sum(human for _, human, *_ in moved) < 5 and sum(machine for _, _, machine, _ in moved) >= 5
    rebuild(opened)
    assert (links(opened), counts(opened)) == (moved, hours)


def test_of_very_many_links_the_most_clicked_are_there(opened: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clicked_links, "MAX_ROWS_OF_A_PERIOD", 3)
    message = new_message("ann@example.com")
    insert_messages(opened, message)
    for n in range(9):
        for minute in range(2 if n == 5 else 1):
            at, url = NOW + timedelta(minutes=10 * n + minute), f"https://shop.example/{n}{'x' * 9000}"
            hit(opened, message.message.id, EventType.CLICKED, at=at, link=n, url=url)
    assert len(links(opened)) == 9
    fold(opened)
    first, *_ = found = links(opened)
    assert first[0].startswith("https://shop.example/5x") and first[1:3] == (2, 0) and len(found) < 9
