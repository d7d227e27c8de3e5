"""What is published in the DNS against what the configuration needs.

MX of the return path, SPF (RFC 7208), DKIM (RFC 6376 §3.6), DMARC with its alignment (RFC 7489 §3.1), this machine's
own name, and the host of tracking links.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from urllib.parse import urlsplit

from publicsuffixlist import PublicSuffixList

from relay import ip_addresses
from relay.config.schema import Config, DkimKey
from relay.delivery.smtp import helo_name
from relay.node.diagnosis import spf
from relay.node.diagnosis.dns_lookup import Dns, DnsUnavailableError
from relay.node.diagnosis.finding import Finding, fail, note, ok
from relay.rewrite import dkim

_SPF_EXAMPLE = '"v=spf1 include:THE-UPSTREAM\'S-DOMAIN ~all"'
_DMARC_EXAMPLE = '"v=DMARC1; p=none; rua=mailto:postmaster@{domain}"'


def check_dns(config: Config, dns: Dns, domains: Sequence[str] = ()) -> Iterator[Finding]:
    """Findings about all names of the configuration, and about further domains that send."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        lambda: _check_hostname(config, dns),
        lambda: _check_tracking_host(config, dns),
    ]
    if config.bounces.return_path:
        checks.append(lambda: _check_return_path(config, dns))
    checks += [lambda key=key: _check_dkim(key, dns) for key in config.dkim.key]  # type: ignore[misc]
    checks += [lambda one=one: _check_sender(one, config, dns) for one in _sending_domains(config, domains)]  # type: ignore[misc]
    for check in checks:
        try:
            yield from check()
        except DnsUnavailableError as error:
            yield fail("DNS", str(error), "look at /etc/resolv.conf, or name a resolver with --resolver")
            return


@cache
def public_suffixes() -> PublicSuffixList:
    """The list that the package ships. It takes 80 ms to read."""
    return PublicSuffixList()


def _sending_domains(config: Config, more: Sequence[str]) -> list[str]:
    """The domains that From fields of our apps are known to have."""
    patterns = [pattern for user in config.access.user for pattern in user.senders]
    patterns += [pattern for upstream in config.upstream for pattern in upstream.senders]
    named = [pattern.rpartition("@")[2].lower() for pattern in patterns]
    named += [key.domain for key in config.dkim.key] + [one.lower().rstrip(".") for one in more]
    return sorted({one for one in named if "." in one and "*" not in one})


def _check_hostname(config: Config, dns: Dns) -> Iterator[Finding]:
    name = config.relay.hostname.rstrip(".").lower()
    if name.startswith("[") or not helo_name.is_qualified(name):
        return
    what = f"[relay] hostname {name}"
    addresses = dns.addresses(name)
    if not addresses:
        yield fail(what, "has no address in the DNS", f"publish an A or AAAA record for {name}")
        return
    yield ok(what, f"has {', '.join(addresses)}")
    for ip in addresses:
        # Receivers compare these only for a machine that delivers by itself, so this is no failure.
        names = dns.names_of(ip)
        if name not in names:
            found = f"leads back to {', '.join(names)}" if names else "has no PTR record"
            yield note(what, f"{ip} {found}", f"if this machine sends to the Internet itself, let {ip} have PTR {name}")


def _check_tracking_host(config: Config, dns: Dns) -> Iterator[Finding]:
    host = urlsplit(config.tracking.public_url).hostname or ""
    what = f"[tracking] public_url host {host}"
    if host == "localhost" or ip_addresses.parse_ip(host):
        return
    addresses = dns.addresses(host)
    if not addresses:
        yield fail(
            what, "has no address in the DNS: links in mail lead nowhere", f"publish A, AAAA or CNAME for {host}"
        )
        return
    private = [one for one in addresses if (ip := ip_addresses.parse_ip(one)) and not ip.is_global]
    if private:
        yield note(what, f"has {', '.join(private)}, which the Internet does not reach", "publish a public address")
    else:
        yield ok(what, f"has {', '.join(addresses)}")


def _check_return_path(config: Config, dns: Dns) -> Iterator[Finding]:
    domain, hostname = config.bounces.return_path, config.relay.hostname.rstrip(".").lower()
    what, record = f"MX of [bounces] return_path {domain}", f"{domain}. IN MX 10 {hostname}."
    if not helo_name.is_qualified(hostname) or hostname.startswith("["):
        yield fail(
            what, f'[relay] hostname is "{hostname}", which no MX record can name', "set it to this machine's name"
        )
        return
    exchanges = dns.exchanges(domain)
    if not exchanges or exchanges == [""]:
        yield fail(what, "there is none: bounces do not come back", f"publish {record}")
        return
    if hostname not in exchanges:
        where = ", ".join(exchanges)
        yield note(what, f"is {where}, not this machine ({hostname})", f"unless {where} passes mail on here: {record}")
    else:
        yield ok(what, f"is {', '.join(exchanges)}")
    for exchange in exchanges:
        if dns.is_alias(exchange):
            yield note(what, f"{exchange} is a CNAME, which an MX must not name (RFC 2181 §10.3)", "name its target")
        if not dns.addresses(exchange):
            yield fail(what, f"{exchange} has no address", f"publish an A or AAAA record for {exchange}")
    yield from _check_spf(domain, dns, f"SPF of [bounces] return_path {domain}")


def _check_dkim(key: DkimKey, dns: Dns) -> Iterator[Finding]:
    name, text = dkim.dns_record(key)
    what = f"DKIM {name}"
    if public_suffixes().is_public(key.domain):
        yield fail(what, f"{key.domain} is a public suffix, where nobody signs", "set domain to a domain of your own")
        return
    found = [one for one in dns.texts(name) if "p=" in one]
    if not found:
        yield fail(
            what, "is not published: receivers cannot verify our signatures", "publish the dns line of `waypost check`"
        )
        return
    tags = _read_tags(found[0])
    published, ours = "".join(tags.get("p", "").split()), _read_tags(text)["p"]
    if len(found) > 1:
        yield fail(what, f"has {len(found)} records; receivers may take any of them", "remove all but one")
    elif not published:
        yield fail(what, "is published as revoked (an empty p=)", "publish the dns line of `waypost check`")
    elif published != ours:
        yield fail(
            what,
            "is published with another key: our signatures fail",
            "publish the dns line of `waypost check`, or use the key that belongs to it",
        )
    elif "y" in tags.get("t", "").split(":"):
        yield note(what, "is published for testing (t=y): receivers ignore the result", "remove t=y")
    else:
        yield ok(what, "is published as our key has it")


def _check_sender(domain: str, config: Config, dns: Dns) -> Iterator[Finding]:
    if domain != config.bounces.return_path:
        yield from _check_spf(domain, dns, f"SPF of {domain}")
    what = f"DMARC of {domain}"
    place, records = _find_dmarc(domain, dns)
    if not records:
        example = _DMARC_EXAMPLE.format(domain=domain)
        yield note(what, "there is no record; large receivers want one", f"publish _dmarc.{domain}. IN TXT {example}")
        return
    if len(records) > 1:
        yield fail(what, f"{place} has {len(records)} records, so none is used (RFC 7489 §6.6.3)", "remove all but one")
        return
    tags = _read_tags(records[0])
    yield ok(what, f"is p={tags.get('p', '?')} ({place})")
    yield _check_alignment(domain, tags, config)


def _check_alignment(domain: str, tags: dict[str, str], config: Config) -> Finding:
    """RFC 7489 §3.1: a signature, or the reverse-path, must be of the author's domain."""
    what = f"DMARC alignment of {domain}"
    signed = [key.domain for key in config.dkim.key if _is_aligned(key.domain, domain, tags.get("adkim", "r"))]
    if signed:
        return ok(what, f"by our DKIM signature (d={signed[0]})")
    path = config.bounces.return_path
    if path and _is_aligned(path, domain, tags.get("aspf", "r")):
        return ok(what, f"by SPF of the return path {path}")
    remedy = f"add a [[dkim.key]] of {domain}, or make sure that the upstream signs with d={domain}"
    if path:
        return note(what, f"neither a key of ours nor the return path {path} is of {domain}", remedy)
    return note(what, f"no key of ours is of {domain}; it hangs on the apps' reverse-path and on the upstream", remedy)


def _is_aligned(one: str, author: str, mode: str) -> bool:
    if mode.strip().lower() == "s":
        return one == author
    suffixes = public_suffixes()
    return (suffixes.privatesuffix(one) or one) == (suffixes.privatesuffix(author) or author)


def _find_dmarc(domain: str, dns: Dns) -> tuple[str, list[str]]:
    """The records, and where: at the domain, or else at its organisation's."""
    organisation = public_suffixes().privatesuffix(domain) or domain
    for one in dict.fromkeys((domain, organisation)):
        place = f"_dmarc.{one}"
        if found := [text for text in dns.texts(place) if text.lower().startswith("v=dmarc1")]:
            return place, found
    return f"_dmarc.{domain}", []


def _check_spf(domain: str, dns: Dns, subject: str) -> Iterator[Finding]:
    records = spf.find_records(dns, domain)
    if not records:
        yield note(
            subject, "there is no record", f"publish {domain}. IN TXT {_SPF_EXAMPLE}, with what your upstream asks for"
        )
    elif len(records) > 1:
        yield fail(
            subject, f"there are {len(records)} records, which is an error (RFC 7208 §4.5)", "join them into one"
        )
    elif spf.permits_all(records[0]):
        yield fail(subject, f"{records[0]} lets anybody send as {domain}", "end it with ~all or -all")
    elif spf.count_lookups(dns, records[0]) > spf.MAX_LOOKUPS:
        yield fail(
            subject,
            f"costs more than {spf.MAX_LOOKUPS} lookups, so receivers ignore it (RFC 7208 §4.6.4)",
            "name fewer includes, or networks",
        )
    else:
        yield ok(subject, records[0])


def _read_tags(text: str) -> dict[str, str]:
    """The tags of a DKIM or DMARC record (RFC 6376 §3.2)."""
    pairs = (part.partition("=") for part in text[:4096].split(";"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs if name.strip()}
