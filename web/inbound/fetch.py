"""Fetch a URL of Amazon's: a small body, no redirects, within seconds."""

import asyncio
import urllib.request

_TIMEOUT_S = 10
_MOST_OCTETS = 1 << 16


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Nowhere else: the URL was looked at, another would not be."""


_OPENER = urllib.request.build_opener(_Stay)


async def fetch(url: str) -> bytes:
    """The body. Raises OSError, also for any status but 200."""

    def read() -> bytes:
        with _OPENER.open(url, timeout=_TIMEOUT_S) as answer:
            octets: bytes = answer.read(_MOST_OCTETS)
            return octets

    return await asyncio.to_thread(read)
