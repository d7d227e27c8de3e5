"""Sends requests to webhooks over HTTP (httpx). The sender loads it with the first request: it takes 0.1 s and 7 MB.

In: an endpoint and a request.  Out: a response, whatever happens. TLS is verified, redirects are not followed, cookies
and proxies of the environment are not used, and no more of the response is read than is logged. RFC 9110.
"""

import asyncio
import ssl
import time
from collections.abc import Iterable, Sequence
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpcore
import httpx

from relay import public_addresses
from relay.delivery.webhooks.payload import Endpoint, WebhookRequest
from relay.delivery.webhooks.request import WebhookResponse
from relay.ip_addresses import IpNetwork

MAX_RESPONSE_OCTETS = 2048  # of a response's body are read and kept


class WebhookClient:
    """Makes requests over connections that are kept for the next ones."""

    def __init__(self, allowed: Sequence[IpNetwork]) -> None:
        self._allowed = allowed
        self._clients: dict[bool, httpx.AsyncClient] = {}  # for endpoints of the operator, and for others
        self._tls: ssl.SSLContext | None = None

    async def send(self, endpoint: Endpoint, request: WebhookRequest) -> WebhookResponse:
        """Posts it. Never raises for what the endpoint or the network does."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(endpoint.timeout.total_seconds()):
                response = await self._send(endpoint, request)
        except TimeoutError:
            response = WebhookResponse(0, f"no answer within {endpoint.timeout.total_seconds():g} s")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            response = WebhookResponse(0, f"{type(error).__name__}: {error}".removesuffix(": "))
        return response._replace(took_ms=round((time.monotonic() - began) * 1000))

    async def _send(self, endpoint: Endpoint, request: WebhookRequest) -> WebhookResponse:
        client = self._clients.get(endpoint.is_from_operator) or self._open_client(endpoint.is_from_operator)
        async with client.stream("POST", endpoint.url, content=request.body, headers=request.headers) as response:
            if not endpoint.is_from_operator:  # users who may choose the URL must not read its content
                return WebhookResponse(response.status_code, retry_after=response.headers.get("retry-after", ""))
            read = b""
            async for chunk in response.aiter_raw():
                read += chunk
                if len(read) >= MAX_RESPONSE_OCTETS:
                    break
            text = read[:MAX_RESPONSE_OCTETS].decode("utf-8", "replace").replace("\0", "")  # PostgreSQL takes no NUL
            return WebhookResponse(response.status_code, "", text, response.headers.get("retry-after", ""))

    def _open_client(self, is_from_operator: bool) -> httpx.AsyncClient:
        """Made when the first request needs it: reading the system's authorities takes 40 ms, and memory."""
        self._tls = self._tls or ssl.create_default_context()
        client = self._clients[is_from_operator] = httpx.AsyncClient(
            transport=_transport(
                httpcore.AnyIOBackend() if is_from_operator else _PublicOnly(self._allowed), self._tls
            ),
            trust_env=False,
            follow_redirects=False,
            timeout=None,  # noqa: S113  the whole request has one, above
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            headers={"accept": "*/*", "accept-encoding": "identity"},
        )
        return client

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()


class _PublicOnly(httpcore.AsyncNetworkBackend):
    """Opens connections to public addresses and allowed networks only, after it has resolved the host itself."""

    def __init__(self, allowed: Sequence[IpNetwork]) -> None:
        self._allowed = allowed
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            addresses = await public_addresses.resolve_public(host, port, self._allowed)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from None
        failed = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                return await self._backend.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except httpcore.ConnectError as error:
                failed = error
        raise failed


def _transport(backend: httpcore.AsyncNetworkBackend, tls: ssl.SSLContext) -> httpx.AsyncHTTPTransport:
    """httpx's transport, with connections that `backend` opens. TLS verifies the name in the URL, not the address."""
    made = httpx.AsyncHTTPTransport(trust_env=False, verify=tls)
    # httpx offers no way to pass a backend; a test notices if it puts its pool elsewhere.
    made._pool = httpcore.AsyncConnectionPool(
        ssl_context=tls,
        max_connections=None,
        max_keepalive_connections=50,
        keepalive_expiry=30.0,
        network_backend=backend,
    )
    return made
