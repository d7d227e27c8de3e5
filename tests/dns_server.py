"""A DNS server on loopback, for tests: answers from a zone that a test writes down."""

import socket
import threading
from collections.abc import Mapping
from types import TracebackType

import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

_MAX_OCTETS = 4096


class DnsServer:
    """Answers UDP questions. `zone`: by name and type (`("example.com", "TXT")`), the records as a zone file has them;
    a name without any does not exist, and one in `broken` is answered SERVFAIL."""

    def __init__(self, zone: Mapping[tuple[str, str], list[str]]) -> None:
        self.zone = dict(zone)
        self.broken: set[str] = set()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "DnsServer":
        self._thread.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:  # wakes the thread
            last.sendto(b"", self._socket.getsockname())
        self._thread.join(60)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            octets, client = self._socket.recvfrom(_MAX_OCTETS)
            if not octets:
                return
            self._socket.sendto(self._answer(octets), client)

    def _answer(self, octets: bytes) -> bytes:
        query = dns.message.from_wire(octets)
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        (question,) = query.question
        name, kind = str(question.name).rstrip(".").lower(), dns.rdatatype.to_text(question.rdtype)
        if name in self.broken:
            reply.set_rcode(dns.rcode.SERVFAIL)
        elif records := self.zone.get((name, kind)):
            reply.answer.append(dns.rrset.from_text(question.name, 60, dns.rdataclass.IN, question.rdtype, *records))
        elif not any(other == name for other, _ in self.zone):
            reply.set_rcode(dns.rcode.NXDOMAIN)
        return reply.to_wire()
