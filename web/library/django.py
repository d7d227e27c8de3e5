"""A program's pixels and links as Django's URL patterns.

In: the tracker and the program's hooks.  Out: patterns, to be included where the tracker's `base_url` leads.
"""

from typing import Any, Unpack

from django.http import HttpRequest, HttpResponse
from django.urls import re_path

from relay.tracking import Tracker
from web.library.endpoints import EndpointOptions, LibraryEndpoints, LibraryResponse, OnEvent


def urlpatterns(
    tracker: Tracker | None = None, on_event: OnEvent | None = None, **options: Unpack[EndpointOptions]
) -> list[Any]:  # Any: Django brings no types
    """`o/TOKEN.png`, `.gif` and `c/TOKEN`, for the tokens of that tracker, else of `tracker_from_environment()`.

    `on_event`, a function or a coroutine function, is called with an Event when the answer is sent; an exception in it
    is logged. HEAD is no event. Raises ValueError if a network is malformed, or if there is no tracker.
    """
    endpoints = LibraryEndpoints(tracker, on_event, **options)

    def answer(request: HttpRequest, path: str) -> HttpResponse:
        made = endpoints.answer(request.method, path, request.headers, request.META.get("REMOTE_ADDR", ""))
        return _HookedResponse(made, endpoints)

    return [re_path(r"(?s)^(?P<path>[oc]/.*)\Z", answer)]


class _HookedResponse(HttpResponse):  # type: ignore[misc]  # Django brings no types
    """Django calls `close` when the answer is sent."""

    def __init__(self, answer: LibraryResponse, endpoints: LibraryEndpoints) -> None:
        super().__init__(answer.body, status=answer.status, headers=dict(answer.headers))
        self._answer = answer
        self._endpoints = endpoints

    def close(self) -> None:
        if self._answer.fact:
            self._endpoints.call_hook_in_this_thread(self._answer.fact)
        super().close()  # it also closes the hook's connections to databases
