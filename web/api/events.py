"""The API's events: `GET events`.

In: requests behind the API's gate.  Out: JSON, in the form of `web.api.answers`.
"""

from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay.event_type import EventType
from relay.hit_verdict import VerdictName
from relay.store.store import Store
from relay.store.views import event_list, json_objects
from relay.store.views.event_list import EventSearch
from web.api.answers import list_response
from web.api.message_schemas import EventList
from web.api.openapi import documented
from web.api.parameters import QueryParameters, Stream, Text, TimeParameters, read_query

_TYPE = "|".join(EventType)


def _check_types(text: str) -> str:
    for one in text.split(","):
        if one not in set(EventType):
            raise ValueError(f"there is no type {one!r}; one or several, joined by commas, of {', '.join(EventType)}")
    return text


Types = Annotated[
    str,
    AfterValidator(_check_types),
    WithJsonSchema({"type": "string", "pattern": f"^({_TYPE})(,({_TYPE}))*$", "examples": ["bounced,complained"]}),
]


class EventFilter(QueryParameters):
    """What an event must have."""

    type: Types | None = Field(default=None, description="one, or several joined by commas")
    recipient: Text = Field(default="", description="an address")
    message: Text = Field(default="", description="a message's id")
    verdict: VerdictName | None = None


class EventParameters(TimeParameters, EventFilter):
    stream: Stream = ""
    tag: Text = ""
    order: Literal["newest", "oldest"] = Field(default="newest", description="which come first")


class EventApi:
    """The endpoint `events`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[BaseRoute]:
        return [Route("/events", self.list_events)]

    @documented("Events", query=EventParameters, response=EventList)
    async def list_events(self, request: Request) -> Response:
        asked = read_query(request, EventParameters)
        wanted = read_filter(asked)._replace(stream=asked.stream, tag=asked.tag, since=asked.since, until=asked.until)
        page = await self._store.read(
            partial(
                event_list.list_events,
                search=wanted,
                limit=asked.limit,
                cursor=asked.cursor,
                oldest_first=asked.order == "oldest",
            )
        )
        return list_response([json_objects.event_object(row) for row in page.rows], page.next)


def read_filter(parameters: EventFilter) -> EventSearch:
    """What the parameters look for."""
    types = tuple(EventType(one) for one in parameters.type.split(",")) if parameters.type else ()
    return EventSearch(
        types=types, message=parameters.message, recipient=parameters.recipient, verdict=parameters.verdict or ""
    )
