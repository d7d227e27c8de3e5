"""Questions to the DNS (RFC 1035), by dnspython: to this machine's resolvers, or to a server that is named."""

from typing import Any

import dns.exception
import dns.resolver
import dns.reversename

from relay.config import values

_LIFETIME_S = 5.0  # of a question, with all its repetitions
_PORT = 53


class DnsUnavailableError(Exception):
    """No resolver answers, or none can find out. That is no fault of the name."""


class Dns:
    """A resolver. A name that does not exist, and one without such records, have no records."""

    def __init__(self, server: str = "") -> None:
        """`server`: an IP address, or that and a port; else the system's resolvers. Raises DnsUnavailableError."""
        try:
            self._resolver = dns.resolver.Resolver(configure=not server)
            if server:
                host, port = _read_server(server)
                self._resolver.nameservers = [host]
                self._resolver.port = port
        except (dns.exception.DNSException, OSError, ValueError) as error:
            raise DnsUnavailableError(f"no resolver to ask: {error}") from None
        self._resolver.lifetime = _LIFETIME_S
        self._resolver.cache = dns.resolver.Cache()

    def texts(self, name: str) -> list[str]:
        """TXT records, each with its strings joined (RFC 7208 §3.3)."""
        return [b"".join(record.strings).decode("utf-8", "replace") for record in self._ask(name, "TXT")]

    def addresses(self, name: str) -> list[str]:
        """A and AAAA records."""
        return [str(record.address) for kind in ("A", "AAAA") for record in self._ask(name, kind)]

    def exchanges(self, name: str) -> list[str]:
        """The names of MX records, the most preferred first; "" is the null MX (RFC 7505)."""
        records = sorted(self._ask(name, "MX"), key=lambda record: int(record.preference))
        return [str(record.exchange).rstrip(".").lower() for record in records]

    def is_alias(self, name: str) -> bool:
        """True if the name has a CNAME record."""
        return bool(self._ask(name, "CNAME"))

    def names_of(self, ip: str) -> list[str]:
        """PTR records."""
        return [
            str(record.target).rstrip(".").lower() for record in self._ask(str(dns.reversename.from_address(ip)), "PTR")
        ]

    def _ask(self, name: str, kind: str) -> list[Any]:  # Any: a record's class follows from its kind
        try:
            return list(self._resolver.resolve(name, kind, search=False))
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.exception.DNSException, OSError, UnicodeError) as error:
            raise DnsUnavailableError(f"{kind} of {name}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, dns.resolver.LifetimeTimeout):
        return "no resolver answered in time"
    if isinstance(error, dns.resolver.NoNameservers):
        return "the resolvers cannot find out (SERVFAIL)"
    return str(error) or type(error).__name__


def _read_server(text: str) -> tuple[str, int]:
    if text.count(":") == 1 or text.startswith("["):
        place = values.read_host_port(text)
        return place.host, place.port
    return text, _PORT
