"""The fields that a relay adds above a message: Received, and Date or Message-ID where they are missing.

RFC 5321 §4.4, RFC 6409 §8.2 and §8.3 (a submission server may add both).
"""

import re
from datetime import datetime
from email.utils import format_datetime

from relay import address
from relay.envelope import Client, Envelope
from relay.mime.fields import Head

_UNSAFE = re.compile(r"[^A-Za-z0-9.\-_:\[\]]")
_MAX_RECEIVED_OCTETS = 2048  # of a field, in which our name is looked for


def fields_above(
    head: Head, message: str, hostname: str, client: Client, envelope: Envelope, at: datetime
) -> tuple[bytes, ...]:
    """The fields, each CRLF-ended, in the order in which they go above the message."""
    above = [_received(message, hostname, client, envelope, at)]
    if not head.fields_named(b"message-id"):
        domain = address.domain(envelope.reverse_path)
        domain = domain if domain and domain.isascii() else hostname
        above.append(f"Message-ID: <{message}@{_ascii(domain)}>\r\n".encode("ascii"))
    if not head.fields_named(b"date"):
        above.append(f"Date: {format_datetime(at)}\r\n".encode("ascii"))
    return tuple(above)


def count_hops(octets: bytes, head: Head, hostname: str) -> tuple[int, int]:
    """How many relays the message has gone through (RFC 5321 §6.3), and how often it was here."""
    received = head.fields_named(b"received")
    mark = b"by %s (waypost) with " % _ascii(hostname).lower().encode("ascii")
    begins = (octets[field.value : min(field.end, field.value + _MAX_RECEIVED_OCTETS)] for field in received)
    return len(received), sum(mark in b" ".join(begin.lower().split()) for begin in begins)


def _received(message: str, hostname: str, client: Client, envelope: Envelope, at: datetime) -> bytes:
    protocol = client.protocol
    if envelope.smtputf8:  # RFC 6531 §3.7.3
        protocol = "UTF8" + protocol.replace("ESMTP", "SMTP")
    ip = client.ip if ":" not in client.ip else f"IPv6:{client.ip}"
    lines = [
        f"Received: from {_ascii(client.helo)} ([{_ascii(ip)}])",
        f"\tby {_ascii(hostname)} (Waypost) with {protocol} id {message};",
        f"\t{format_datetime(at)}",
    ]
    return "\r\n".join([*lines, ""]).encode("ascii")


def _ascii(text: str) -> str:
    return _UNSAFE.sub("?", text)[:255] or "unknown"
