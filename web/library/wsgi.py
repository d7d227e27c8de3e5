"""A program's pixels and links as a WSGI application, for any WSGI server or framework. PEP 3333.

In: the tracker and the program's hooks.  Out: an application, to be mounted where the tracker's `base_url` leads.
"""

from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any, Unpack

from relay.tracking import Tracker
from web.library.endpoints import EndpointOptions, LibraryEndpoints, LibraryResponse, OnEvent

Environ = dict[str, Any]  # Any: as PEP 3333 has it
Application = Callable[[Environ, Callable[..., object]], Iterable[bytes]]


def application(
    tracker: Tracker | None = None, on_event: OnEvent | None = None, **options: Unpack[EndpointOptions]
) -> Application:
    """Answers `/o/TOKEN.png`, `.gif` and `/c/TOKEN`, with or without the path of `base_url` before them, for the tokens
    of that tracker, else of `tracker_from_environment()`. Anything else is 404.

    `on_event`, a function or a coroutine function, is called with an Event when the server has sent the answer; an
    exception in it is logged. HEAD is no event. Raises ValueError if a network is malformed, or if there is no tracker.
    """
    endpoints = LibraryEndpoints(tracker, on_event, **options)

    def answer(environ: Environ, start_response: Callable[..., object]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace")
        made = endpoints.answer(environ["REQUEST_METHOD"], path, _headers(environ), environ.get("REMOTE_ADDR", ""))
        start_response(f"{made.status} {HTTPStatus(made.status).phrase}", made.headers)
        return _HookedBody(made, endpoints)

    return answer


class _HookedBody:
    """An answer's octets. The server calls `close` when it has sent them."""

    def __init__(self, answer: LibraryResponse, endpoints: LibraryEndpoints) -> None:
        self._answer = answer
        self._endpoints = endpoints

    def __iter__(self) -> Iterator[bytes]:
        return iter([self._answer.body])

    def close(self) -> None:
        if self._answer.fact:
            self._endpoints.call_hook_in_this_thread(self._answer.fact)


def _headers(environ: Environ) -> dict[str, str]:
    return {name[5:].replace("_", "-"): value for name, value in environ.items() if name.startswith("HTTP_")}
