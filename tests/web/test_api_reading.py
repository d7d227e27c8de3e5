"""The API's lists: what each filter finds, page by page, in the form that the description promises."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from relay import ids
from relay.event_type import EventType
from relay.store.database.tables import Status
from relay.store.queue.queue_facts import AttemptRecord
from relay.store.recipients import suppressions
from relay.store.recipients.suppressions import SuppressionEntry
from tests.web.api_client import ApiClient, Json
from tests.web.scene import Scene

REFUSED = AttemptRecord("primary", "rcpt", 550, "5.1.1", "no such user", 12)
LINKS = [
    {"number": n, "url": f"https://shop.example/{n}", "decision": "tracked", "reason": "", "text": "see"}
    for n in (1, 2)
]


@pytest.fixture(scope="module")
def mail(scene: Scene) -> dict[str, str]:
    """Messages of several kinds, the oldest first; ids by what they are."""
    long_ago = datetime.now(UTC) - timedelta(days=9)
    return {
        "old": scene.file("Old@Example.com", subject="From long ago", id=ids.new(long_ago), accepted_at=long_ago),
        "order": scene.file(
            "Ann@Example.com",
            "bob@example.com",
            subject="Your order 1047",
            tags=["Receipt", "shop"],
            meta={"order": "1047", "Shop": "Berlin"},
            stream="transactional",
            message_id="order-1047@shop.example",
            links=LINKS,
        ),
        "bounced": scene.file("gone@example.com", subject="Not there", status=Status.BOUNCED, attempt=REFUSED),
        "news": scene.file(*(f"reader{n:02}@example.org" for n in range(25)), subject="News of May", tags=["news"]),
    }


def ids_of(items: list[Json]) -> list[str]:
    return [one["id"] for one in items]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({}, ["news", "bounced", "order", "old"]),
        ({"q": "ORDER"}, ["order"]),
        ({"q": "to:ann@example.com"}, ["order"]),
        ({"q": "ann@example.com"}, ["order"]),
        ({"q": "to:example.org"}, ["news"]),
        ({"q": "from:app@ subject:may"}, ["news"]),
        ({"q": "tag:receipt"}, ["order"]),
        ({"q": "meta.order:1047"}, ["order"]),
        ({"q": "meta.shop:berlin tag:shop stream:transactional status:delivered"}, ["order"]),
        ({"q": "meta.order:1048"}, []),
        ({"q": "status:bounced"}, ["bounced"]),
        ({"q": "status:bounced status:delivered"}, ["news", "bounced", "order", "old"]),
        ({"q": "before:7d"}, ["old"]),
        ({"q": "after:7d stream:news"}, ["news", "bounced"]),
        ({"q": "id:<order-1047@shop.example>"}, ["order"]),
        ({"q": "order-1047@shop.example"}, ["order"]),
        ({"q": '"order 1047"'}, ["order"]),
        ({"q": "order may"}, []),
        ({"q": "%"}, []),
        ({"recipient": "ANN@example.com"}, ["order"]),
        ({"recipient": "gone@example.com", "status": "bounced"}, ["bounced"]),
        ({"recipient": "gone@example.com", "status": "delivered"}, []),
        ({"recipient": "old@EXAMPLE.com"}, ["old"]),
        ({"status": "queued"}, []),
        ({"stream": "transactional"}, ["order"]),
        ({"tag": "RECEIPT"}, ["order"]),
        ({"metadata": "order:1047"}, ["order"]),
        ({"metadata": "order=1047", "tag": "news"}, []),
        ({"message_id": "<order-1047@shop.example>"}, ["order"]),
        ({"from": "7d"}, ["news", "bounced", "order"]),
        ({"to": "7d"}, ["old"]),
        ({"from": "2999-01-01"}, []),
        ({"to": "1971-01-01T00:00:00+02:00"}, []),
    ],
)
def test_messages_are_found_by_each_filter(
    api: ApiClient, mail: dict[str, str], query: dict[str, str], names: list[str]
) -> None:
    assert ids_of(api.items("/messages", **query)) == [mail[name] for name in names]


def test_a_list_goes_on_where_its_cursor_says(api: ApiClient, mail: dict[str, str]) -> None:
    first = api.get("/messages", limit=3)
    assert ids_of(first["items"]) == [mail["news"], mail["bounced"], mail["order"]]
    last = api.get("/messages", limit=3, cursor=first["next"])
    assert (ids_of(last["items"]), last["next"]) == ([mail["old"]], None)
    assert ids_of(api.pages("/messages", limit=1, stream="news")) == [mail["news"], mail["bounced"], mail["old"]]


def test_a_page_looks_at_so_many_messages_and_then_says_where_to_go_on(
    api: ApiClient, mail: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.store.views.message_search.MAX_SCANNED", 1)
    page = api.get("/messages", q="order")
    assert page["items"] == [] and page["next"]
    assert ids_of(api.pages("/messages", q="order")) == [mail["order"]]
    monkeypatch.setattr("relay.store.views.event_list.MAX_SCANNED", 2)
    of_may = {"tag": "news", "type": "delivered,accepted"}
    for order in ("newest", "oldest"):
        rows = ids_of(api.pages("/events", **of_may, order=order))
        assert len(rows) == 26 and rows == sorted(rows, reverse=order == "newest")


def test_a_list_shows_the_delivery_that_was_searched_for_and_how_many_there_are(
    api: ApiClient, mail: dict[str, str]
) -> None:
    [news] = api.items("/messages", recipient="reader24@example.org")
    shown = [one["recipient"] for one in news["deliveries"]]
    assert (news["recipients"], len(shown), shown[-1]) == (25, 21, "reader24@example.org")
    assert news["deliveries"][-1]["attempts"][0]["text"] == "queued as 1A2B"
    whole = api.get(f"/messages/{mail['news']}")
    assert len(whole["deliveries"]) == 25 and whole["deliveries"][:20] == news["deliveries"][:20]


def test_a_message_has_what_the_contract_names(scene: Scene, api: ApiClient, mail: dict[str, str]) -> None:
    number, order = 1, mail["order"]
    scene.hit(order, EventType.OPENED, "human", number)
    scene.hit(order, EventType.CLICKED, "human", number, url="https://shop.example/2", link=2)
    scene.hit(order, EventType.CLICKED, "machine", 0, url="https://shop.example/2", link=2)
    message = api.get(f"/messages/{order}")
    assert (message["from"], message["message_id"]) == ("app@example.com", "order-1047@shop.example")
    assert (message["tags"], message["metadata"]) == (["Receipt", "shop"], {"order": "1047", "Shop": "Berlin"})
    [ann, bob] = message["deliveries"]
    assert (ann["id"], ann["recipient"], ann["status"]) == (f"{order}.0", "Ann@Example.com", "delivered")
    assert (bob["opens"]["human"], bob["clicks"]["human"], ann["clicks"]["machine"]) == (1, 1, 1)
    assert [link["clicks"] for link in message["links"]] == [
        {"human": 0, "machine": 0, "unknown": 0, "unique": 0},
        {"human": 1, "machine": 1, "unknown": 0, "unique": 1},
    ]
    assert (message["opens"]["human"], message["opened_by"], message["clicked_by"]) == (1, 1, 1)
    [refused] = api.get(f"/messages/{mail['bounced']}")["deliveries"]
    assert (refused["attempts"][0]["code"], refused["attempts"][0]["phase"]) == (550, "rcpt")


def test_events_are_found_by_each_filter(api: ApiClient, mail: dict[str, str]) -> None:
    [bounced] = api.items("/events", type="bounced")
    assert (bounced["message"], bounced["delivery"]) == (mail["bounced"], f"{mail['bounced']}.0")
    assert bounced["detail"] == "550 5.1.1 no such user"
    assert {one["type"] for one in api.items("/events", message=mail["order"])} >= {"accepted", "delivered"}
    for query in ({"recipient": "ann@example.com"}, {"recipient": "ANN@example.com", "message": mail["order"]}):
        of_ann = api.items("/events", type="delivered", **query)
        assert [one["delivery"] for one in of_ann] == [f"{mail['order']}.0"]
    assert api.items("/events", verdict="proxied") == []
    assert len(api.items("/events", stream="transactional", type="accepted")) == 1
    assert len(api.items("/events", tag="receipt", type="accepted,bounced")) == 1
    assert [one["message"] for one in api.items("/events", to="7d", type="accepted")] == [mail["old"]]
    newest = ids_of(api.pages("/events", limit=7))
    assert newest == sorted(newest, reverse=True)
    assert ids_of(api.pages("/events", limit=7, order="oldest")) == newest[::-1]


def test_links_are_counted_by_url(scene: Scene, api: ApiClient) -> None:
    one, other = (scene.file("ann@clicks.example", stream="clicks", links=LINKS) for _ in range(2))
    for message, url, verdict in (
        (one, "https://shop.example/a", "human"),
        (one, "https://shop.example/a", "human"),
        (other, "https://shop.example/a", "human"),
        (other, "https://shop.example/b", "human"),
        (other, "https://shop.example/c", "machine"),
    ):
        scene.hit(message, EventType.CLICKED, verdict, url=url, link=1)
    counted = api.get("/links", stream="clicks")
    assert [link["url"][-1] for link in counted["items"]] == ["a", "b", "c"] and counted["counted_since"] is None
    first = counted["items"][0]
    assert first["clicks"] == {"human": 3, "machine": 0, "unknown": 0, "unique": 2}
    assert counted["items"] == api.pages("/links", stream="clicks", limit=1)
    assert [(link["url"][-1], link["link"]) for link in api.items("/links", message=one)] == [("a", 1)]
    assert [one["messages"] for one in api.items("/links", message=other)] == [1, 1, 1]


def test_bounces_are_counted_by_domain_and_category(scene: Scene, api: ApiClient) -> None:
    full = AttemptRecord("primary", "rcpt", 552, "5.2.2", "mailbox full", 12)
    for who, attempt, category in (
        ("1@north.example", REFUSED, "user_unknown"),
        ("2@north.example", REFUSED, "user_unknown"),
        ("3@north.example", full, "mailbox_full"),
        ("4@south.example", REFUSED, "user_unknown"),
    ):
        outcome = {"category": category}
        last = scene.file(who, status=Status.BOUNCED, attempt=attempt, outcome=outcome, stream="compass")
    scene.file("5@south.example", stream="compass")
    here = ("north.example", "south.example")
    for query in ({}, {"stream": "compass"}):
        items = [one for one in api.pages("/bounces", limit=1, **query) if one["domain"] in here]
        assert [(one["domain"], one["category"], one["count"]) for one in items] == [
            ("north.example", "user_unknown", 2),
            ("north.example", "mailbox_full", 1),
            ("south.example", "user_unknown", 1),
        ]
        assert items[-1]["sample"]["message"] == last and items[1]["sample"]["text"] == "552 5.2.2 mailbox full"
    by_domain = {one["domain"]: one for one in api.items("/bounces", by="domain")}
    assert [(by_domain[name]["count"], by_domain[name]["delivered"]) for name in here] == [(3, 0), (1, 1)]
    by_category = {one["category"]: one["count"] for one in api.items("/bounces", by="category", stream="compass")}
    assert by_category == {"user_unknown": 3, "mailbox_full": 1}


def test_one_message_has_its_conversations_and_a_list_has_none(scene: Scene, api: ApiClient) -> None:
    lines = "0 * connecting to 127.0.0.1:1\n3 > MAIL FROM:<a@b.example>\n9 < 451 4.7.1 come back later"
    later = AttemptRecord("primary", "mail", 451, "4.7.1", "come back later", 9, conversation=lines)
    message = scene.file("said@example.com", status=Status.DEFERRED, attempt=later)
    [attempt] = api.get(f"/messages/{message}")["deliveries"][0]["attempts"]
    assert attempt["conversation"] == [
        {"ms": 0, "by": None, "text": "connecting to 127.0.0.1:1"},
        {"ms": 3, "by": "waypost", "text": "MAIL FROM:<a@b.example>"},
        {"ms": 9, "by": "upstream", "text": "451 4.7.1 come back later"},
    ]
    [listed] = api.items("/messages", recipient="said@example.com")
    assert listed["deliveries"][0]["attempts"] == [attempt | {"conversation": []}]


def test_suppressions_are_found_by_each_filter(scene: Scene, api: ApiClient) -> None:
    now = datetime.now(UTC)
    entries = [
        SuppressionEntry("one@stop.example", "all", "", "hard_bounce", "550 no", now, None),
        SuppressionEntry("two@stop.example", "stream", "news", "unsubscribe", "", now, now + timedelta(days=1)),
    ]
    scene.write(lambda connection: suppressions.add_suppressions(connection, entries))
    two, one = api.items("/suppressions", q="stop.ex")
    assert (one["address"], one["scope"], one["stream"], one["evidence"]) == ("one@stop.example", "all", None, "550 no")
    assert (two["stream"], two["reason"], two["evidence"]) == ("news", "unsubscribe", None)
    assert api.items("/suppressions", address="One@Stop.Example") == [one]
    assert api.items("/suppressions", reason="unsubscribe", stream="news", scope="stream") == [two]
    assert api.pages("/suppressions", q="stop.ex", limit=1) == [two, one]


def test_the_queue_shows_what_waits_and_why(scene: Scene, api: ApiClient) -> None:
    greylisted = AttemptRecord("primary", "rcpt", 451, "4.7.1", "come back later", 3)
    due = datetime.now(UTC) + timedelta(hours=1)
    messages = [
        scene.file(
            f"{n}@later.example",
            stream="later",
            status=Status.DEFERRED,
            attempt=greylisted,
            outcome={"kind": "soft", "category": "greylisted", "next_attempt_at": due + timedelta(seconds=n)},
        )
        for n in range(3)
    ]
    waiting = api.items("/queue", stream="later")
    assert [one["recipient"] for one in waiting] == [f"{n}@later.example" for n in range(3)]
    assert (waiting[0]["category"], waiting[0]["last_attempt"]["text"]) == ("greylisted", "come back later")
    assert waiting[0]["held_at"] is None and not waiting[0]["parked"] and not waiting[0]["under_way"]
    assert api.pages("/queue", stream="later", limit=1) == waiting
    assert (
        api.items("/queue", recipient="1@LATER.example", status="deferred", held="false", parked="no") == waiting[1:2]
    )
    assert api.items("/queue", category="greylisted", status="queued") == []
    assert ids_of(api.items("/messages", status="deferred", stream="later")) == messages[::-1]


def test_a_test_suite_waits_for_its_mail(scene: Scene, api: ApiClient) -> None:
    began = time.monotonic()
    assert api.get("/messages", recipient="soon@wait.example", wait="1") == {"items": [], "next": None}
    assert time.monotonic() - began >= 1
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(api.items, "/messages", recipient="soon@wait.example", wait="30s")
        time.sleep(0.1)  # it may come before or after the request: both are to work
        sent = scene.file("soon@wait.example")
        assert ids_of(waiting.result(60)) == [sent]
    assert ids_of(api.items("/messages", recipient="soon@wait.example", wait="30s")) == [sent]


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("/messages", {"recipient_": "ann"}, "recipient_: there is no such parameter here; there are q, status"),
        ("/messages", {"status": "lost"}, "status:"),
        ("/messages", {"q": "status:lost"}, "q: status: there is no status 'lost'; one of queued"),
        ("/messages", {"q": "before:tomorrow"}, "q: before: must be a time such as"),
        ("/messages", {"q": "to:"}, "q: to: says nothing after the colon"),
        ("/messages", {"q": "x" * 501}, "q:"),
        ("/messages", {"q": "x " * 21}, "q: a search has at most 20 terms"),
        ("/messages", {"metadata": "order"}, "metadata:"),
        ("/messages", {"wait": "soon"}, "wait: must be a duration"),
        ("/messages", {"limit": "many"}, "limit: must be a number"),
        ("/messages", {"limit": "0"}, "limit:"),
        ("/events", {"type": "bounced,exploded"}, "type: there is no type 'exploded'"),
        ("/events", {"from": "yesterday"}, "from: must be a time such as"),
        ("/queue", {"cursor": "x"}, "cursor:"),
        ("/links", {"cursor": "x"}, "cursor:"),
        ("/suppressions", {"cursor": "-1"}, "cursor:"),
    ],
)
def test_a_bad_query_is_refused_with_the_reason(
    api: ApiClient, path: str, query: dict[str, str], expected: str
) -> None:
    assert expected in api.refusal("GET", path, 400, params=query)


@pytest.mark.parametrize("name", ["recipient", "tag", "stream", "q", "message_id"])
def test_an_empty_filter_is_no_filter_for_everything(api: ApiClient, name: str) -> None:
    expected = f"{name}: is empty; leave it out where nothing is looked for"
    assert expected in api.refusal("GET", "messages", 400, params={name: ""})
    assert expected in api.refusal("DELETE", "messages", 400, params={name: ""})


def test_what_is_not_there_is_404_in_the_form_of_errors(api: ApiClient) -> None:
    for path in ("/messages/06h1q588v53rmvhei95g", "/no/such", "/a%0Ab", "/consent/a%0Ab", "", "/"):
        assert api.http.get(path).json()["error"]["code"] == "not_found", path
    for method, path, allowed in (
        ("OPTIONS", "/webhooks", "DELETE, GET, HEAD, POST"),
        ("PATCH", "/consent/a@b.c", "DELETE, GET, HEAD, PUT"),
    ):
        answer = api.http.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
