"""Who is asking: a person, somebody's proxy, or a machine.

In: a request's headers and peer.  Out: a verdict with its reasons, and the address as far as it may be
kept.  The rules below see one request only; those that compare hits (bursts, a click within seconds of
the delivery) will judge the same `Visit` with the earlier hits beside it, and relabel stored events.
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from starlette.requests import Request

from relay.config.values import Network
from relay.edits import Kind

HUMAN, PROXIED, MACHINE, UNKNOWN = "human", "proxied", "machine", "unknown"
LONGEST_USER_AGENT = 512  # characters that are kept

# A person opened the mail, but the mailbox provider fetched the picture: place and device are its own.
PROXIES = {
    "google_image_proxy": "GoogleImageProxy",
    "yahoo_mail_proxy": "YahooMailProxy",
}
# Fetched before anybody looked. Apple's Mail Privacy Protection names itself by saying nothing more; Gmail's
# prefetch carries an Edge of 2015 with one word too many.
PREFETCHERS = {
    "apple_prefetch": r"Mozilla/5\.0",
    "gmail_prefetch": r"Mozilla/5\.0 \(.*\) AppleWebKit/.* Chrome/42\.0\.2311\.135 .* Edge/12\.246 Mozilla/5\.0",
}
# Headers by which a browser says that it fetches ahead of its user.
PREFETCH_HEADERS = {"sec-purpose": "prefetch", "purpose": "prefetch", "x-purpose": "preview", "x-moz": "prefetch"}
# Scanners, link previews and programs, by a word of their user agent. Mail apps' own HTTP libraries (okhttp,
# CFNetwork, ms-office) are not among them: those show mail to people.
SCANNERS = {
    "slack": "Slackbot|Slack-ImgProxy",
    "facebook": "facebookexternalhit|facebookcatalog|meta-external",
    "telegram": "TelegramBot",
    "twitter": "Twitterbot",
    "whatsapp": "WhatsApp/",
    "discord": "Discordbot",
    "linkedin": "LinkedInBot",
    "skype": "SkypeUriPreview",
    "bing": "bingbot|BingPreview",
    "google": "Googlebot|Google-Safety|Google-InspectionTool|GoogleOther|AdsBot-Google|Google-Read-Aloud",
    "apple": "Applebot",
    "office": "Microsoft Office Existence Discovery",
    "barracuda": "Barracuda",
    "mimecast": "Mimecast",
    "proofpoint": "Proofpoint",
    "symantec": "Symantec|MessageLabs",
    "trendmicro": "Trend ?Micro",
    "curl": r"^curl/",
    "wget": r"^Wget/",
    "python": r"^python-|^Python/|aiohttp/|Scrapy/",
    "go": r"Go-http-client/",
    "java": r"^Java/|Apache-HttpClient/",
    "node": r"node-fetch|^axios/|^undici",
    "perl": r"libwww-perl|^LWP::",
    "ruby": r"^Ruby$|Faraday",
    "php": r"GuzzleHttp",
    "headless": r"HeadlessChrome|PhantomJS|Puppeteer|Playwright|Selenium",
    "bot": r"(?<!cu)bot\b|crawler\b|spider\b",  # Cubot makes phones
}

_PROXIES = [(reason, re.compile(pattern)) for reason, pattern in PROXIES.items()]
_PREFETCHERS = [(reason, re.compile(pattern)) for reason, pattern in PREFETCHERS.items()]
_SCANNERS = [(name, re.compile(pattern, re.IGNORECASE)) for name, pattern in SCANNERS.items()]


class Visit(NamedTuple):
    """One request, as far as the rules look at it."""

    kind: Kind
    user_agent: str
    headers: Mapping[str, str]  # names in lower case


class Verdict(NamedTuple):
    """What we take the visitor for, and by which rules."""

    verdict: str
    reasons: tuple[str, ...] = ()


def judge(visit: Visit) -> Verdict:
    """The verdict at request time. When in doubt about a named browser it is a person; later rules may relabel.

    Image proxies do not follow links for people: what clicks under a proxy's name is a machine.
    """
    prefetch = tuple(
        "prefetch" for name, value in PREFETCH_HEADERS.items() if value in visit.headers.get(name, "").lower()
    )[:1]
    agent = visit.user_agent
    early = tuple(reason for reason, pattern in _PREFETCHERS if pattern.fullmatch(agent))
    scanner = next((f"scanner:{name}" for name, pattern in _SCANNERS if pattern.search(agent)), None)
    machine = (*early, *([scanner] if scanner else []), *prefetch)
    proxies = tuple(reason for reason, pattern in _PROXIES if pattern.search(agent))
    if proxies and visit.kind is Kind.OPEN and not prefetch:
        return Verdict(PROXIED, proxies)
    if machine or proxies:
        return Verdict(MACHINE, (*proxies, *machine))
    if not agent:
        return Verdict(UNKNOWN, ("no_user_agent",))
    return Verdict(HUMAN)


def visit_of(kind: Kind, request: Request) -> Visit:
    return Visit(kind, request.headers.get("user-agent", "").strip(), request.headers)


def address(request: Request, trusted: Sequence[Network]) -> str:
    """The visitor's IP address; empty if there is none (a socket file).

    X-Forwarded-For is believed only from trusted proxies, from the right: the first hop that is not one of
    them. What stands further left was written by anybody.
    """
    found = _read(request.client.host) if request.client else None
    hops = [hop for line in request.headers.getlist("x-forwarded-for") for hop in line.split(",")]
    while found is not None and hops and any(found in network for network in trusted):
        nearer = _read(hops.pop())
        if nearer is None:
            break
        found = nearer
    return str(found) if found is not None else ""


def kept(ip: str, how: Literal["full", "truncated", "none"]) -> str:
    """The address as it may be stored: whole, its network (/24, /48), or not at all."""
    found = _read(ip)
    if found is None or how == "none":
        return ""
    if how == "full":
        return str(found)
    return str(ipaddress.ip_network((found, 24 if found.version == 4 else 48), strict=False).network_address)


def _read(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    text = text.strip()
    if with_port := re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::\d+)?|([0-9.]+):\d+", text):
        text = with_port[1] or with_port[2]
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # A dual-stack listener shows IPv4 peers as ::ffff:192.0.2.1 (RFC 4291 §2.5.5.2).
    return (found.ipv4_mapped if found.version == 6 else None) or found
