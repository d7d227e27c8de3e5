"""The fields that a relay adds above a message: Received, and Date or Message-ID where they are missing.

RFC 5321 §4.4, RFC 6409 §8.2 and §8.3 (a submission server may add both).
"""

import re
from datetime import datetime
from email.utils import format_datetime

from relay import address
from relay.envelope import Client, Envelope

_UNSAFE = re.compile(r"[^A-Za-z0-9.\-_:\[\]]")
_RECEIVED = re.compile(rb"(?im)^received[ \t]*:")


def fields(
    header: bytes, message: str, hostname: str, client: Client, envelope: Envelope, at: datetime
) -> tuple[bytes, ...]:
    """The fields, each CRLF-ended, in the order in which they go above the message."""
    above = [_received(message, hostname, client, envelope, at)]
    if not re.search(rb"(?im)^message-id[ \t]*:", header):
        domain = address.domain(envelope.reverse_path)
        domain = domain if domain and domain.isascii() else hostname
        above.append(f"Message-ID: <{message}@{_ascii(domain)}>\r\n".encode("ascii"))
    if not re.search(rb"(?im)^date[ \t]*:", header):
        above.append(f"Date: {format_datetime(at)}\r\n".encode("ascii"))
    return tuple(above)


def hops(header: bytes, hostname: str) -> tuple[int, int]:
    """How many relays the message has gone through (RFC 5321 §6.3), and how often it was here."""
    mark = re.escape(b"by " + _ascii(hostname).encode("ascii") + b" (Waypost) with ")
    here = re.compile(rb"(?im)^received[ \t]*:[^\n]*\n?(?:[ \t][^\n]*\n)*?[ \t]*" + mark)
    return len(_RECEIVED.findall(header)), len(here.findall(header))


def header_section(octets: bytes, longest_octets: int) -> bytes | None:
    """The header section with its last line end, without the blank line. None: it is longer than that."""
    if octets.startswith(b"\r\n"):
        return b""
    end = octets.find(b"\r\n\r\n", 0, longest_octets + 4)
    if end >= 0:
        return octets[: end + 2]
    return octets if len(octets) <= longest_octets else None


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
