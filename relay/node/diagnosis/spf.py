"""An SPF record (RFC 7208): whether there is one, and whether receivers can evaluate it within their limit."""

import re

from relay.node.diagnosis.dns_lookup import Dns

MAX_LOOKUPS = 10  # RFC 7208 §4.6.4; a record that costs more is a permanent error
_VERSION = re.compile(r"v=spf1(?: |$)", re.IGNORECASE)
_COSTS = re.compile(r"[-+~?]?(include|a|mx|ptr|exists|redirect)(?:[:=/]|$)", re.IGNORECASE)
_MAX_TERMS = 100


def find_records(dns: Dns, domain: str) -> list[str]:
    """The domain's SPF records. Raises DnsUnavailableError."""
    return [text for text in dns.texts(domain) if _VERSION.match(text)]


def count_lookups(dns: Dns, record: str, max_count: int = MAX_LOOKUPS + 1) -> int:
    """How many questions a receiver asks to evaluate the record, at most `max_count`. Raises DnsUnavailableError."""
    count = 0
    for term in record.split()[1:_MAX_TERMS]:
        cost = _COSTS.match(term)
        if cost is None:
            continue
        count += 1
        kind, domain = cost[1].lower(), term[cost.end() :]
        if kind in ("include", "redirect") and "%" not in domain and domain and count < max_count:
            for inner in find_records(dns, domain)[:1]:
                count += count_lookups(dns, inner, max_count - count)
        if count >= max_count:
            break
    return count


def permits_all(record: str) -> bool:
    """True if anybody may send as that domain."""
    return any(term.lower() in ("all", "+all") for term in record.split())
