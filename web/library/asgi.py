"""A program's pixels and links as Starlette routes, for any Starlette or ASGI application.

In: the tracker and the program's hooks.  Out: routes, to be mounted where the tracker's `base_url` leads.
"""

from functools import partial
from typing import Unpack

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay.tracking import Tracker
from web.library.endpoints import EndpointOptions, LibraryEndpoints, OnEvent


def routes(
    tracker: Tracker | None = None, on_event: OnEvent | None = None, **options: Unpack[EndpointOptions]
) -> list[BaseRoute]:
    """`/o/TOKEN.png`, `.gif` and `/c/TOKEN`, for the tokens of that tracker, else of `tracker_from_environment()`.

    `on_event`, a function or a coroutine function, is called with an Event after the answer; an exception in it is
    logged. HEAD is no event. Raises ValueError if a network is malformed, or if there is no tracker.
    """
    endpoints = LibraryEndpoints(tracker, on_event, **options)

    async def answer(request: Request, folder: str) -> Response:
        peer = request.client.host if request.client else ""
        made = endpoints.answer(request.method, f"/{folder}/{request.path_params['name']}", request.headers, peer)
        behind = BackgroundTask(endpoints.call_hook, made.fact) if made.fact else None
        return Response(made.body, made.status, dict(made.headers), background=behind)

    return [Route(f"/{folder}/{{name:path}}", partial(answer, folder=folder)) for folder in ("o", "c")]
