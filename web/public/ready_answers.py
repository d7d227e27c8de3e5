"""Answers requests for pixels and links without the application, as soon as the hit is on disk.

In: the scope of a request whose head is complete.  Out: the whole answer, or None: then Starlette answers, with pages
for bad tokens, and for other methods, other hosts and long destinations. Measured: a quarter of the processor time.
"""

import time
from functools import partial

from starlette.responses import Response
from starlette.types import Scope

from relay import metrics, tokens
from relay.edits import Kind
from web.middleware import SAFE_HEADERS, HostNames
from web.public.tracking import HitRecorder
from web.responses import can_redirect_to, image_response, redirect_response
from web.server.protocol import ReadyAnswer


class ReadyAnswers:
    """Answers for the paths of opens and clicks, at the root and under a prefix."""

    def __init__(self, ring: tokens.KeyRing, hits: HitRecorder, hosts: HostNames, prefix: str) -> None:
        self._ring = ring
        self._hits = hits
        self._hosts = hosts
        self._prefix = prefix
        self._images = {suffix: _fields(image_response(suffix)) for suffix in (".gif", ".png")}
        self._bodies = {suffix: bytes(image_response(suffix).body) for suffix in (".gif", ".png")}
        self._redirect = _fields(redirect_response(b"https://a.example/")).partition(b"location: ")[0]

    def find(self, scope: Scope) -> ReadyAnswer | None:
        """The answer to a GET of a good token of ours, whose hit is being recorded."""
        path: str = scope["path"]
        kind = path[1:3]
        if kind not in ("o/", "c/"):
            if not self._prefix or not path.startswith(self._prefix):
                return None
            path = path[len(self._prefix) :]
            kind = path[1:3]
        if scope["method"] != "GET" or not path.startswith("/") or not self._hosts.include(scope):
            return None
        if kind == "o/":
            return self._answer_pixel(path[3:], scope)
        return self._answer_click(path[3:], scope) if kind == "c/" else None

    def _answer_pixel(self, name: str, scope: Scope) -> ReadyAnswer | None:
        started_s = time.perf_counter()
        text = tokens.leading_token(name)
        suffix = name[len(text) : len(text) + len(".gif")]
        fields = self._images.get(suffix)
        token = self._read_token(Kind.OPEN, text)
        if fields is None or token is None:
            return None
        after = self._hits.record_hit(token, scope)
        if after:
            after.add_done_callback(partial(_count_pixel, started_s))
        else:
            _count_pixel(started_s)
        return ReadyAnswer(200, fields, self._bodies[suffix], after)

    def _answer_click(self, text: str, scope: Scope) -> ReadyAnswer | None:
        started_s = time.perf_counter()
        token = self._read_token(Kind.CLICK, tokens.leading_token(text))
        if token is None or token.stored_reference or not can_redirect_to(token.url):
            return None
        after = self._hits.record_hit(token, scope)
        if after:
            after.add_done_callback(partial(_count_redirect, started_s))
        else:
            _count_redirect(started_s)
        return ReadyAnswer(302, self._redirect + b"location: " + token.url + b"\r\n", b"", after)

    def _read_token(self, kind: Kind, text: str) -> tokens.Token | None:
        try:
            return self._ring.read_token(kind, text)
        except tokens.InvalidTokenError:
            return None


def _fields(response: Response) -> bytes:
    """The octets of an answer's fields, with those that every answer has."""
    present = {name for name, _ in response.raw_headers}
    missing = [field for field in SAFE_HEADERS if field[0] not in present]
    # The destination comes last, so that it can be cut off and another one added.
    fields = sorted((*response.raw_headers, *missing), key=lambda field: field[0] == b"location")
    return b"".join(b"%s: %s\r\n" % field for field in fields)


def _count_pixel(started_s: float, _done: object = None) -> None:
    metrics.pixel_sent(time.perf_counter() - started_s)


def _count_redirect(started_s: float, _done: object = None) -> None:
    metrics.redirected(time.perf_counter() - started_s)
