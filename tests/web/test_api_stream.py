"""The API's stream: events as they happen, and those that a client has missed."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from relay.event_type import EventType
from relay.store.database.tables import Status
from tests.waiting import until
from tests.web.api_client import ApiClient
from tests.web.scene import Scene

Event = dict[str, Any]  # Any: what JSON can hold


class StreamClient:
    """A client of the stream, on a thread of its own."""

    def __init__(self, api: ApiClient, last: str = "", **query: str) -> None:
        self.events: list[Event] = []
        self.names: list[str] = []
        self.is_open = self.has_ended = False
        headers = dict(api.http.headers) | ({"last-event-id": last} if last else {})
        self._http = httpx.Client(base_url=api.http.base_url, headers=headers)
        self._query = query
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            with self._http.stream("GET", "/events/stream", params=self._query) as answer:
                assert answer.headers["content-type"].startswith("text/event-stream")
                for line in answer.iter_lines():
                    self.is_open = True
                    if line.startswith("event: "):
                        self.names.append(line.removeprefix("event: "))
                    elif line.startswith("data: "):
                        self.events.append(json.loads(line.removeprefix("data: ")))
        except httpx.HTTPError:
            pass
        self.has_ended = True

    def close(self) -> None:
        self._http.close()


@contextmanager
def listening(api: ApiClient, last: str = "", **query: str) -> Iterator[StreamClient]:
    one = StreamClient(api, last, **query)
    try:
        until(lambda: one.is_open)
        yield one
    finally:
        one.close()


def test_events_come_as_they_happen_to_all_who_want_them(scene: Scene, api: ApiClient) -> None:
    before = scene.file("before@stream.example")
    with (
        listening(api) as everything,
        listening(api, type="opened,clicked", verdict="human") as opens,
        listening(api, recipient="ANN@stream.example") as ann,
    ):
        message = scene.file("ann@stream.example", "bob@stream.example")
        scene.hit(message, EventType.OPENED, "human", 1)
        scene.hit(message, EventType.OPENED, "machine", 0)
        until(lambda: len(everything.events) >= 5)
        until(lambda: len(opens.events) >= 1 and len(ann.events) >= 2)
    known = {event["id"]: event for event in api.items("/events", message=message)}
    assert {event["id"]: event for event in everything.events} == known and len(everything.events) == 5
    assert everything.names == [event["type"] for event in everything.events]
    assert [event["delivery"] for event in opens.events] == [f"{message}.1"]
    assert {event["delivery"] for event in ann.events} == {f"{message}.0"} and before not in str(everything.events)


def test_a_client_that_comes_back_gets_what_it_has_missed_and_nothing_twice(scene: Scene, api: ApiClient) -> None:
    message = scene.file("missed@stream.example", *(f"{n}@stream.example" for n in range(5)))
    first, *missed = api.items("/events", message=message, order="oldest")
    with listening(api, last=first["id"], message=message) as one:
        scene.hit(message, EventType.OPENED, "human", 2)
        until(lambda: len(one.events) == len(missed) + 1)
    assert one.events[:-1] == missed and one.events[-1]["type"] == "opened"
    assert "Last-Event-ID" in api.refusal("GET", "/events/stream", 400, headers={"last-event-id": "x"})
    assert "type:" in api.refusal("GET", "/events/stream", 400, params={"type": "exploded"})


def test_streams_and_waiting_requests_end_when_the_server_stops(tmp_path: Path) -> None:
    with Scene(tmp_path) as scene, ApiClient(scene) as client, listening(client) as one:
        answers: list[object] = []
        asked = {"recipient": "nobody@stream.example", "wait": "60s"}
        waiting = threading.Thread(target=lambda: answers.append(client.get("/messages", **asked)))
        waiting.start()
        scene.file("somebody@stream.example", status=Status.DELIVERED)
        until(lambda: one.events)
        scene.stop()
        waiting.join()
        until(lambda: one.has_ended)
        assert answers == [{"items": [], "next": None}]
