"""The rim of both applications: every answer carries the safe headers, no exception leaves.

In: an ASGI application and the answer for a fault of ours.  Out: the same application, guarded.
"""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from relay import ids, log

_ALWAYS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))


class Guard:
    """Catches what the application raises, logs it, and shows the visitor no more than its id."""

    def __init__(self, app: ASGIApp, where: str, fault: Callable[[Request, str], Response]) -> None:
        self._app = app
        self._where = where
        self._fault = fault

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = list(message.get("headers", ()))
                present = {name for name, _ in headers}
                headers += [header for header in _ALWAYS if header[0] not in present]
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception:  # noqa: BLE001  the outermost frame of a request
            fault_id = ids.new()
            log.fault(self._where, fault_id)
            if not started:
                await self._fault(Request(scope), fault_id)(scope, receive, sending)
