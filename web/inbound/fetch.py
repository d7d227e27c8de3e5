"""Fetch a URL of Amazon's: a small body, no redirects, within seconds."""

import asyncio
import http.client
import urllib.request

_TIMEOUT_S = 10
_MAX_OCTETS = 1 << 16


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Follows no redirect: only the first URL has been checked."""


_OPENER = urllib.request.build_opener(_NoRedirects)


async def fetch_url(url: str) -> bytes:
    """The body. Raises OSError, also for a status other than 200, a malformed answer or a malformed URL."""

    def read() -> bytes:
        try:
            with _OPENER.open(url, timeout=_TIMEOUT_S) as answer:
                octets: bytes = answer.read(_MAX_OCTETS)
                return octets
        except (http.client.HTTPException, ValueError) as error:
            raise OSError(f"{type(error).__name__}: {error}") from None

    return await asyncio.to_thread(read)
