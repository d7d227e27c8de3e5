"""The fields that a relay adds above a message: Received, and Date or Message-ID where they are missing.

RFC 5321 §4.4, RFC 6409 §8.2 and §8.3 (a submission server may add both).
"""

import re
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache

from relay import address
from relay.envelope import Client, Envelope
from relay.mime.fields import Head

_UNSAFE = re.compile(r"[^A-Za-z0-9.\-_:\[\]]")
_MAX_RECEIVED_OCTETS = 2048  # of a field, in which our name is looked for


def make_trace_fields(
    head: Head, message: str, hostname: str, client: Client, envelope: Envelope, at: datetime
) -> tuple[bytes, ...]:
    """The fields, each CRLF-ended, in the order in which they go above the message.

    A signature may name fields that are not there, so that nobody adds them (RFC 6376 §5.4.2): signed mail gets a
    Received field only.
    """
    trace_fields = [_received_field(message, hostname, client, envelope, at)]
    if head.fields_named(b"dkim-signature"):
        return tuple(trace_fields)
    if not head.fields_named(b"message-id"):
        domain = address.domain(envelope.reverse_path)
        domain = domain if domain and domain.isascii() else hostname
        trace_fields.append(f"Message-ID: <{message}@{_ascii(domain)}>\r\n".encode("ascii"))
    if not head.fields_named(b"date"):
        trace_fields.append(f"Date: {_format_date(at.replace(microsecond=0))}\r\n".encode("ascii"))
    return tuple(trace_fields)


def count_hops(octets: bytes, head: Head, hostname: str) -> tuple[int, int]:
    """How many relays the message has gone through (RFC 5321 §6.3), and how often it was here."""
    received = head.fields_named(b"received")
    if not received:
        return 0, 0
    own_by_clause = b"by %s (waypost) with " % _ascii(hostname).lower().encode("ascii")
    value_starts = (octets[field.value : min(field.end, field.value + _MAX_RECEIVED_OCTETS)] for field in received)
    return len(received), sum(own_by_clause in b" ".join(begin.lower().split()) for begin in value_starts)


def _received_field(message: str, hostname: str, client: Client, envelope: Envelope, at: datetime) -> bytes:
    protocol = client.protocol
    if envelope.smtputf8:  # RFC 6531 §3.7.3
        protocol = "UTF8" + protocol.replace("ESMTP", "SMTP")
    ip = client.ip if ":" not in client.ip else f"IPv6:{client.ip}"
    lines = [
        f"Received: from {_ascii(client.helo)} ([{_ascii(ip)}])",
        f"\tby {_ascii(hostname)} (Waypost) with {protocol} id {message};",
        f"\t{_format_date(at.replace(microsecond=0))}",
    ]
    return "\r\n".join([*lines, ""]).encode("ascii")


@lru_cache(maxsize=2)  # many mails come within a second
def _format_date(second: datetime) -> str:
    return format_datetime(second)


@lru_cache(maxsize=1024)
def _ascii(text: str) -> str:
    return _UNSAFE.sub("?", text)[:255] or "unknown"
