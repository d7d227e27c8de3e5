"""Answers to recipients' mail programs: an image, or a redirect.

In: a path's suffix, or a destination.  Out: answers that nothing caches.
"""

import re

from starlette.responses import Response

from relay.rewrite import pixel

_NEVER_CACHED = {
    "cache-control": "no-store, no-cache, must-revalidate, private, max-age=0",
    "pragma": "no-cache",
    "expires": "0",
}
# The second check of the scheme: the first is made before the link is signed. No control octets: they would end
# the header field (RFC 9110 §5.5).
_DESTINATION = re.compile(rb"https?://[^\x00-\x1f\x7f]+", re.IGNORECASE)


def image_response(path: str) -> Response:
    """The transparent pixel, as the type that the path's suffix names; GIF for anything else."""
    octets, media_type = (pixel.PNG, "image/png") if path.endswith(".png") else (pixel.GIF, "image/gif")
    return Response(octets, media_type=media_type, headers=_NEVER_CACHED)


def can_redirect_to(url: bytes) -> bool:
    """True for a web address that can stand in a header field."""
    return _DESTINATION.fullmatch(url) is not None


def redirect_response(url: bytes) -> Response:
    """302 to exactly these octets. The URL must be one that `can_redirect_to` accepts."""
    response = Response(
        status_code=302,
        headers={"cache-control": "no-store", "referrer-policy": "no-referrer", "x-robots-tag": "noindex"},
    )
    # The octets are written as they are: Starlette's RedirectResponse would quote them again.
    response.raw_headers.append((b"location", url))
    return response
