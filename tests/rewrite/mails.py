"""Mails to rewrite, and the keys that make and read their tokens."""

from datetime import UTC, datetime

from relay import edits, key_file, tokens
from relay.rewrite import plan

PUBLIC_URL = "https://track.example"
SETTINGS = plan.Settings(PUBLIC_URL)
RING = tokens.KeyRing([key_file.MasterKey(1, datetime(2026, 11, 1, tzinfo=UTC), bytes(range(32)))])
_MINTER = tokens.Minter(RING, PUBLIC_URL)
MESSAGE = "0" * 20


def mint(hole: edits.Hole) -> bytes:
    """The first recipient's URL."""
    return _MINTER.url(hole, MESSAGE, 0)


def mint_for(recipient: int) -> edits.Mint:
    return lambda hole: _MINTER.url(hole, MESSAGE, recipient)


def destination(url: str) -> str:
    """Where a click URL leads."""
    text = url.removeprefix(PUBLIC_URL + "/c/")
    return RING.read_token(edits.Kind.CLICK, text).url.decode("ascii")


def make_mail(
    body: bytes, *fields: bytes, type_: bytes = b"text/html; charset=utf-8", encoding: bytes = b"8bit"
) -> bytes:
    """A message of one part, CRLF-ended lines."""
    head = (
        b"From: Orla <orla@bramble.example>",
        b"Subject: Kettle",
        *fields,
        b"MIME-Version: 1.0",
        b"Content-Type: " + type_,
        b"Content-Transfer-Encoding: " + encoding,
    )
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def multipart(subtype: bytes, *parts: bytes, boundary: bytes = b"bb", close: bytes = b"--bb--\r\n") -> bytes:
    """A multipart message; each part is its header, a blank line and its body."""
    inside = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
    return (
        b'MIME-Version: 1.0\r\nContent-Type: multipart/%s; boundary="%s"\r\n\r\n' % (subtype, boundary) + inside + close
    )


def tracked(planned: plan.Plan) -> list[str]:
    """The URLs that are tracked, in order."""
    return [link.url for link in planned.links if link.decision == "tracked"]


def skipped(planned: plan.Plan) -> list[str]:
    """The reasons of the links that are not, in order."""
    return [link.reason for link in planned.links if link.decision == "skipped"]


def undone(original: bytes, changes: list[edits.Edit], result: bytes) -> bytes:
    """The original again, from the result and the edits."""
    out: list[bytes] = []
    shift = 0
    past = 0
    for edit in changes:
        out.append(result[past + shift : edit.start + shift])
        assert result[edit.start + shift : edit.start + shift + len(edit.new)] == edit.new
        out.append(original[edit.start : edit.end])
        shift += len(edit.new) - (edit.end - edit.start)
        past = edit.end
    return b"".join(out) + result[past + shift :]
