"""Writes with an `Idempotency-Key` are done once: the same request again gets the same answer.

In: a write that the API's gate let through.  Out: its answer, the stored one (with `Idempotent-Replayed: true`), or an
error: 409 while the first is still worked on, 422 if the key came with another request. An answer of 500 or more is not
stored. draft-ietf-httpapi-idempotency-key-header.
"""

import asyncio
import hashlib
import re
from datetime import UTC, datetime
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from relay.store.console import idempotency
from relay.store.console.idempotency import StoredAnswer
from relay.store.store import Store
from web.api.answers import error_response

_KEY = re.compile(r"[!-~]{1,255}")
_WRITES = frozenset(("POST", "PUT", "DELETE"))
_SECRET_ANSWERS = ("/keys",)  # keys are stored as hashes only
_STORED_HEADERS = ("content-type", "location", "cache-control")


def make_idempotent(route: Route, store: Store) -> None:
    """Makes the route's writes idempotent."""
    if not (route.methods or set()) & _WRITES or route.path in _SECRET_ANSWERS:
        return
    route.app = _IdempotentWrites(route.app, store)


class _IdempotentWrites:
    def __init__(self, app: ASGIApp, store: Store) -> None:
        self._app = app
        self._store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        key = request.headers.get("idempotency-key")
        if key is None or request.method not in _WRITES:
            await self._app(scope, receive, send)
            return
        response = await self._answer(request, key)
        await response(scope, receive, send)

    async def _answer(self, request: Request, key: str) -> Response:
        if not _KEY.fullmatch(key):
            return error_response(400, "bad_request", "Idempotency-Key: must be 1 to 255 characters of ASCII")
        body = await request.body()
        digest = _digest(request.scope["state"].get("api_key", ""), key)
        request_digest = _digest(request.method, request.url.path, request.url.query, body.hex())
        known = await self._store.write(
            partial(idempotency.begin_write, digest=digest, request=request_digest, now=datetime.now(UTC))
        )
        if known is not None:
            return _repeated_answer(known, request_digest)
        # Shielded: a client that hangs up has its write done all the same, and asks again for the answer.
        return await asyncio.shield(asyncio.ensure_future(self._do(request.scope, body, digest, request_digest)))

    async def _do(self, scope: Scope, body: bytes, digest: str, request_digest: str) -> Response:
        status, headers, parts = 500, dict[str, str](), []
        is_read = False

        async def receive() -> Message:
            nonlocal is_read
            if is_read:
                return {"type": "http.disconnect"}
            is_read = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            nonlocal status, headers
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in message["headers"]}
            else:
                parts.append(message.get("body", b""))

        try:
            await self._app(scope, receive, send)
        except BaseException:
            await self._store.write(partial(idempotency.forget_write, digest=digest))
            raise
        kept = {name: value for name, value in headers.items() if name in _STORED_HEADERS}
        answer = StoredAnswer(request_digest, status, kept, b"".join(parts))
        if status >= 500:
            await self._store.write(partial(idempotency.forget_write, digest=digest))
        else:
            await self._store.write(partial(idempotency.finish_write, digest=digest, answer=answer))
        return Response(answer.body, status, headers)


def _repeated_answer(stored: StoredAnswer, request_digest: str) -> Response:
    if stored.request != request_digest:
        return error_response(422, "idempotency_key_reused", "this Idempotency-Key came with another request before")
    if not stored.status:
        what = "the first request with this Idempotency-Key is still worked on"
        return error_response(409, "in_progress", what, {"retry-after": "1"})
    return Response(stored.body, stored.status, stored.headers | {"idempotent-replayed": "true"})


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
