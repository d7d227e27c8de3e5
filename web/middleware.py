"""The outermost layer of both applications: it adds the security headers to every answer, and catches exceptions.

In: an ASGI application and the answer for a fault of ours.  Out: the same application, guarded. `KnownHosts` refuses
requests for a site that is not ours, by `HostNames`; `BadTokenLimit` counts the bad tokens of a network.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from functools import lru_cache

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from relay import ids, ip_addresses, log
from web import visitors

SAFE_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))
_MAX_HOST = 300  # octets of a Host field that are looked at; a name has 253 at most


class SafeErrors:
    """Catches the application's exceptions and logs them. The visitor sees the fault's id only.

    Two exceptions are no faults of ours: the client has disconnected, or a layer around this application refuses the
    request (its body is too large).
    """

    def __init__(self, app: ASGIApp, where: str, fault_response: Callable[[Request, str], Response]) -> None:
        self._app = app
        self._where = where
        self._fault_response = fault_response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = is_sending = False

        async def sending(message: Message) -> None:
            nonlocal started, is_sending
            if message["type"] == "http.response.start":
                started = True
                headers = list(message.get("headers", ()))
                present = {name for name, _ in headers}
                headers += [header for header in SAFE_HEADERS if header[0] not in present]
                message = {**message, "headers": headers}
            is_sending = True
            await send(message)
            is_sending = False

        try:
            await self._app(scope, receive, sending)
        except ClientDisconnect:
            return
        except HTTPException:
            raise
        except Exception:
            if is_sending:  # Starlette has answered by itself (the body is too large), and ends the request in this way
                raise
            fault_id = ids.new()
            log.fault(self._where, fault_id)
            if not started:
                await self._fault_response(Request(scope), fault_id)(scope, receive, sending)


class HostNames:
    """The named hosts, on any port, and this machine's own names: a proxy in front often passes on 127.0.0.1.

    `any_address`: any IP address counts too. This stops DNS rebinding: with a foreign name that leads to our address, a
    browser would take our answers for those of that site.
    """

    def __init__(self, names: Collection[str], *, any_address: bool = False) -> None:
        self._names = {"localhost", *(name.lower().rstrip(".") for name in names)}
        self._any_address = any_address
        self._is_known = lru_cache(maxsize=256)(self._look_up)

    def include(self, scope: Scope) -> bool:
        """True if the request is for one of them."""
        named = next((value for name, value in scope["headers"] if name == b"host"), b"")
        return self._is_known(named[:_MAX_HOST])

    def _look_up(self, host_field: bytes) -> bool:
        host = host_field.decode("latin-1").strip().lower()
        # RFC 9110 §7.2: a name or an address, and perhaps a port.
        host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        host = host.rstrip(".")
        if host in self._names:
            return True
        address = ip_addresses.parse_ip(host)
        return address is not None and (address.is_loopback or self._any_address)


class KnownHosts:
    """Answers requests for known hosts only. Health checks are answered under every name."""

    def __init__(
        self,
        app: ASGIApp,
        host_names: HostNames,
        is_exempt: Callable[[str], bool],
        unknown_response: Callable[[], Response],
    ) -> None:
        self._app = app
        self._host_names = host_names
        self._is_exempt = is_exempt
        self._unknown_response = unknown_response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_exempt(scope["path"]) or self._host_names.include(scope):
            await self._app(scope, receive, send)
        else:
            await self._unknown_response()(scope, receive, send)


class BadTokenLimit:
    """How many bad tokens a network may try. Each network has a bucket; at most `networks` of them are remembered.

    Good tokens are never counted: a link of a mail works however often it is requested.
    """

    def __init__(self, burst: int = 300, refill_s: float = 0.2, networks: int = 10_000) -> None:
        self._burst = burst
        self._refill_s = refill_s  # seconds until a further try is allowed
        self._networks = networks
        self._free_at: OrderedDict[str, float] = OrderedDict()  # when the bucket will be full again

    def allow(self, address: str, now: float | None = None) -> bool:
        """Counts a bad token from that address (/24, /48). False if there were too many."""
        now = time.monotonic() if now is None else now
        network = visitors.redact_ip(address, "truncated")
        free_at = max(self._free_at.pop(network, now), now)
        allowed = free_at - now < self._burst * self._refill_s
        self._free_at[network] = free_at + self._refill_s if allowed else free_at
        if len(self._free_at) > self._networks:
            self._free_at.popitem(last=False)
        return allowed
