"""One request of a person, a proxy or a machine: the verdict, and the visitor's address."""

import pytest
from starlette.requests import Request

from relay.attribution.request_verdict import HitVerdict
from relay.config.values import read_network
from relay.edits import Kind
from web import visitors

IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_3 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148"
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
GMAIL_AHEAD = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/42.0.2311.135 "
    "Safari/537.36 Edge/12.246 Mozilla/5.0"
)
PEOPLE = [
    IPHONE,
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/134.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.7.0",
    "Mozilla/4.0 (compatible; ms-office; MSOffice 16)",
    "Dalvik/2.1.0 (Linux; U; Android 15; Pixel 8 Build/AP4A)",
    "okhttp/4.12.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)",
    "Mozilla/5.0 (Android 14; Mobile; Cubot P60; rv:136.0) Gecko/136.0 Firefox/136.0",
]
SCANNERS = {
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)": "slack",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)": "facebook",
    "Twitterbot/1.0": "twitter",
    "WhatsApp/2.24.6.77 A": "whatsapp",
    "TelegramBot (like TwitterBot)": "telegram",
    "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)": "discord",
    "LinkedInBot/1.0 (compatible; Mozilla/5.0; +http://www.linkedin.com)": "linkedin",
    "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5": "skype",
    "Mozilla/5.0 AppleWebKit/537.36 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)": "bing",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)": "google",
    "BarracudaCentral (link checker)": "barracuda",
    "Mimecast URL Protection": "mimecast",
    "curl/8.5.0": "curl",
    "python-requests/2.32.3": "python",
    "python-httpx/0.28.1": "python",
    "Go-http-client/2.0": "go",
    "Wget/1.21": "wget",
    "Mozilla/5.0 (X11) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/134.0.0.0 Safari/537.36": "headless",
    "SomeNewCrawler crawler/1.0": "bot",
}


def judge(agent: str, kind: Kind = Kind.OPEN, **headers: str) -> HitVerdict:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return visitors.judge_visit(visitors.Visit(kind, agent, given))


@pytest.mark.parametrize("agent", PEOPLE)
def test_mail_programs_and_browsers_are_people(agent: str) -> None:
    assert judge(agent) == ("human", ())
    assert judge(agent, Kind.CLICK) == ("human", ())


@pytest.mark.parametrize(("agent", "name"), SCANNERS.items())
def test_scanners_and_programs_are_machines(agent: str, name: str) -> None:
    for kind in (Kind.OPEN, Kind.CLICK):
        verdict, reasons = judge(agent, kind)
        assert verdict == "machine" and f"scanner:{name}" in reasons


def test_image_proxies_stand_for_a_person_who_opens_but_never_click() -> None:
    assert judge(GMAIL) == ("proxied", ("google_image_proxy",))
    assert judge("YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html").verdict == "proxied"
    assert judge(GMAIL, Kind.CLICK) == ("machine", ("google_image_proxy",))


def test_prefetches_are_machines() -> None:
    assert judge("Mozilla/5.0") == ("machine", ("apple_prefetch",))
    assert judge(GMAIL_AHEAD) == ("machine", ("gmail_prefetch",))
    assert judge("Mozilla/5.0 (X11)") == ("human", ())
    assert judge(IPHONE, sec_purpose="prefetch;prerender") == ("machine", ("prefetch",))
    assert judge(IPHONE, purpose="prefetch", x_moz="prefetch") == ("machine", ("prefetch",))
    assert judge(GMAIL, purpose="prefetch").verdict == "machine"


def test_who_says_nothing_is_unknown() -> None:
    assert judge("") == ("unknown", ("no_user_agent",))


def request(peer: str | None, *forwarded: str) -> Request:
    headers = [(b"x-forwarded-for", line.encode()) for line in forwarded]
    return Request({"type": "http", "headers": headers, "client": (peer, 4711) if peer else None})


TRUSTED = [read_network("127.0.0.1"), read_network("10.0.0.0/8")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.7", (), "203.0.113.7"),
        ("203.0.113.7", ("198.51.100.1",), "203.0.113.7"),  # nobody asked this peer
        ("127.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("127.0.0.1", ("6.6.6.6, 198.51.100.1",), "198.51.100.1"),  # what stands left is anybody's claim
        ("127.0.0.1", ("6.6.6.6", "198.51.100.1, 10.1.2.3"), "198.51.100.1"),
        ("127.0.0.1", ("10.0.0.9",), "10.0.0.9"),
        ("127.0.0.1", ("198.51.100.1:51234",), "198.51.100.1"),
        ("127.0.0.1", ("[2001:db8::1]:443",), "2001:db8::1"),
        ("127.0.0.1", ("unknown",), "127.0.0.1"),
        ("127.0.0.1", ("198.51.100.1" + " " * 500 + "x",), "127.0.0.1"),
        ("127.0.0.1", ("[" + "f:" * 50_000 + "]:1",), "127.0.0.1"),
        ("127.0.0.1", ("",), "127.0.0.1"),
        ("::ffff:203.0.113.7", (), "203.0.113.7"),
        (None, ("198.51.100.1",), ""),
    ],
)
def test_forwarded_addresses_are_believed_from_trusted_proxies_only(
    peer: str | None, forwarded: tuple[str, ...], expected: str
) -> None:
    assert visitors.client_address(request(peer, *forwarded), TRUSTED) == expected


def test_an_address_is_kept_as_far_as_it_may_be() -> None:
    assert visitors.redact_ip("203.0.113.77", "full") == "203.0.113.77"
    assert visitors.redact_ip("203.0.113.77", "truncated") == "203.0.113.0"
    assert visitors.redact_ip("2001:db8:aaaa:bbbb::1", "truncated") == "2001:db8:aaaa::"
    assert visitors.redact_ip("203.0.113.77", "none") == ""
    assert visitors.redact_ip("", "full") == ""
