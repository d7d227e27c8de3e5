"""Tracking URLs for Python programs that send mail by themselves, without relay or store.

In: HTML, or a link, and metadata of the program's own.  Out: HTML and URLs that carry the metadata, encrypted and
authenticated (AES-SIV, RFC 5297); and the content of such a URL. `web.library` answers requests for these URLs, and
makes an Event of each request; a Webhook sends it to another program.

Keys are derived for this use alone (HKDF, RFC 5869): a token from here is invalid at a relay, and the other way
round. The same link and metadata give the same URL.
"""

import json
import os
import re
import ssl
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeVar

import httpx
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from relay import __version__, base_encoding, ids, key_derivation, moments, tokens, webhook_signatures
from relay.config import load
from relay.edits import Edit, fill, splice
from relay.mime import charset
from relay.rewrite import html_tokenizer, link_url, links, lxml_check, pixel
from relay.rewrite.anchors import find_anchors
from relay.tokens import InvalidTokenError

MAX_URL_CHARACTERS = 2000  # characters; longer ones break in some clients
MIN_SECRET = 32  # characters, or octets
PIXEL_PNG, PIXEL_GIF = pixel.PNG, pixel.GIF  # for programs that answer requests themselves
_VERSION = 0x4C  # differs from every version of the relay's tokens
_WEB = re.compile(r"https?://[^\s\"'<>&=]+", re.IGNORECASE)
_PATH = re.compile(r"(?:^|/)(?P<kind>[oc])/(?P<token>[A-Za-z0-9_-]+)(?:\.(?:png|gif))?/?(?:[?#].*)?$")

Kind = Literal["open", "click"]
Metadata = Mapping[str, Any]  # Any: JSON
Text = TypeVar("Text", str, bytes)
Secret = str | bytes  # the same characters are the same secret


class TrackedUrl(NamedTuple):
    """The content of a tracking URL."""

    kind: Kind
    url: str  # a click's destination; empty for an open
    metadata: dict[str, Any]  # Any: as it was given


@dataclass(frozen=True, slots=True)
class Event:
    """Somebody opened a mail or followed a link."""

    kind: Kind
    url: str
    metadata: dict[str, Any]  # Any: as it was given
    verdict: str  # human | proxied | machine | unknown
    reasons: tuple[str, ...]
    ip: str  # as much of it as is stored
    user_agent: str
    at: datetime
    id: str = field(default_factory=ids.new)

    def to_json(self) -> str:
        """All of it as a JSON object; `at` as in `2026-11-26T08:00:00.123456Z`."""
        at = moments.format_iso(self.at)
        return json.dumps(asdict(self) | {"at": at}, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class BadLink:
    """Somebody requested a pixel or a click with a token that is not ours."""

    kind: Kind
    token: str
    error: str  # what is wrong with it
    ip: str  # as much of it as is stored
    user_agent: str
    at: datetime


class WebhookError(Exception):
    """The receiver of an event did not accept it, or could not be reached."""


class Webhook:
    """Sends events to a URL; pass its `send` to a site as `on_event`. A request is a POST of the event's JSON. With a
    secret it is signed as Standard Webhooks (https://www.standardwebhooks.com) says: `whsec_…` is base64, any other
    secret is the key itself. Of several secrets each signs, so that the receiver may know the old one or the new one.
    """

    def __init__(self, url: str, secret: Secret | Sequence[Secret] = (), *, timeout_s: float = 10.0) -> None:
        if link_url.find_scheme(url) not in ("http", "https") or not link_url.find_host(url):
            raise ValueError(f"not a web address: {url[:100]!r}")
        self.url = url
        self._secrets = _as_list(secret)
        for one in self._secrets:
            if not webhook_signatures.secret_octets(one):
                raise ValueError("a webhook's secret is empty")
        self._timeout_s = timeout_s
        self._tls_context = ssl.create_default_context()

    def request(self, event: Event, timestamp: int | None = None) -> tuple[dict[str, str], bytes]:
        """Header fields and body, signed as of that time (seconds since 1970), or of now: for programs that send the
        request themselves."""
        body = event.to_json().encode()
        headers = {"content-type": "application/json", "user-agent": f"Waypost/{__version__}"}
        if self._secrets:
            signed_at = int(time.time()) if timestamp is None else timestamp
            headers |= {
                "webhook-id": event.id,
                "webhook-timestamp": str(signed_at),
                "webhook-signature": webhook_signatures.standard_webhooks_signature(
                    self._secrets, event.id, signed_at, body
                ),
            }
        return headers, body

    def send(self, event: Event) -> None:
        """Sends the event, once. Raises WebhookError unless the answer is 2xx; redirects are not followed."""
        headers, body = self.request(event)
        try:
            with (
                httpx.Client(timeout=self._timeout_s, verify=self._tls_context, trust_env=False) as client,
                client.stream("POST", self.url, content=body, headers=headers) as answer,
            ):
                if not answer.is_success:
                    raise WebhookError(f"{answer.url.host} answered {answer.status_code}")
        except (httpx.HTTPError, OSError) as error:
            host = link_url.find_host(self.url)  # not the whole URL, which may contain a password
            raise WebhookError(f"{host}: {type(error).__name__}: {error}".removesuffix(": ")) from error


class Tracker:
    """Mints and reads the URLs of one program.

    `base_url` is the URL of its routes, `secret` at least 32 random characters or octets. Of several secrets the first
    one mints and all read, so that links of mail already sent outlive a change. `metadata` is added to every URL.
    Raises ValueError for arguments that cannot work.
    """

    def __init__(self, base_url: str, secret: Secret | Sequence[Secret], metadata: Metadata | None = None) -> None:
        secrets = _as_list(secret)
        if not secrets or any(len(one) < MIN_SECRET for one in secrets):
            raise ValueError(f"a secret has {MIN_SECRET} random characters or more")
        if not base_url.isascii() or not _WEB.fullmatch(base_url):
            raise ValueError("base_url must be an http(s) address without query, quotes or spaces")
        self.base_url = base_url.rstrip("/")
        self._scheme = link_url.find_scheme(base_url)
        self._metadata = dict(metadata or {})
        self._ciphers: dict[Kind, list[AESSIV]] = {
            kind: [_cipher(one, kind) for one in secrets] for kind in ("open", "click")
        }

    def open_url(self, metadata: Metadata | None = None, *, suffix: Literal["png", "gif"] = "png") -> str:
        """The URL of a picture of one transparent point. Raises ValueError if the metadata is not JSON, or if the URL
        would have more than 2,000 characters."""
        return self._require_short(f"{self.base_url}/o/{self._mint('open', '', metadata)}.{suffix}")

    def click_url(self, url: str, metadata: Metadata | None = None) -> str:
        """The URL that redirects to that http(s) URL. ASCII in it stays as it is, the rest is encoded as browsers do.
        `//host/path` is read as a browser would read it in a page of `base_url`. Raises ValueError as above."""
        url = link_url.with_scheme(url, self._scheme)
        if link_url.find_scheme(url) not in ("http", "https") or not url.isprintable() or not link_url.find_host(url):
            raise ValueError(f"not a web address: {url[:100]!r}")
        return self._require_short(f"{self.base_url}/c/{self._mint('click', url, metadata)}")

    def read(self, url: str) -> TrackedUrl:
        """The content of a tracking URL or its path. Raises InvalidTokenError for a token that is not ours."""
        found = _PATH.search(url)
        if not found:
            raise InvalidTokenError("not a tracking URL")
        return self.read_token("open" if found["kind"] == "o" else "click", found["token"])

    def read_token(self, kind: Kind, token: str) -> TrackedUrl:
        """The same for a bare token of that kind."""
        try:
            octets = base_encoding.from_base64url(token)
        except ValueError:
            raise InvalidTokenError("not base64url") from None
        if octets[:1] != bytes((_VERSION,)) or len(octets) < 18:
            raise InvalidTokenError("not a token")
        for cipher in self._ciphers[kind]:
            try:
                plain = cipher.decrypt(octets[1:], [octets[:1]])
            except InvalidTag:
                continue
            destination_url, metadata = json.loads(zlib.decompress(plain, -15))
            return TrackedUrl(kind, destination_url, metadata)
        raise InvalidTokenError("not authentic")

    def instrument_html(
        self,
        html: Text,
        metadata: Metadata | None = None,
        *,
        opens: bool = True,
        clicks: bool = True,
        exclude: Sequence[str] = (),
        text_is_url: Literal["skip", "track"] = "skip",
    ) -> Text:
        """The HTML with its links replaced and a pixel before `</body>`, and no other octet changed.

        The rules are the relay's: links with an opt-out (`data-no-track`), placeholders, links to ourselves and to
        hosts in `exclude` stay, and so does HTML that two parsers read differently. Octets are read as UTF-8, else
        Windows-1252. A link whose tracking URL would be too long stays. Raises ValueError for metadata that JSON
        cannot hold.
        """
        octets = html.encode("utf-8", "surrogatepass") if isinstance(html, str) else html
        edits = self._edits(
            octets,
            self._with_defaults(metadata),
            links.LinkRules(
                self.base_url,
                clicks,
                frozenset(map(str.lower, exclude)),
                text_is_url,
                frozenset(),
                bare_scheme=self._scheme,
            ),
            opens=opens,
        )
        made = splice(octets, edits)
        return made.decode("utf-8", "surrogatepass") if isinstance(html, str) else made

    def _edits(self, octets: bytes, metadata: Metadata, rules: links.LinkRules, *, opens: bool) -> list[Edit]:
        codec = charset.find_codec("", octets)
        if codec is None or b"\x00" in octets:
            return []
        markup = html_tokenizer.tokenize_fast(octets)
        anchors = [] if markup.ambiguity else find_anchors(octets, markup, codec)
        seen = [anchor.latin1_url for anchor in anchors if not anchor.is_conditional]
        has_foreign = markup.has_foreign_content
        if markup.ambiguity or not lxml_check.sees_links(
            octets, seen, has_foreign_content=has_foreign, with_bare_hosts=True
        ):
            return []
        edits = []
        decisions: links.UrlDecisions = {}
        for anchor in anchors[: links.MAX_TRACKED]:
            reason, target = links.decide_anchor(anchor, rules, codec, decisions)
            address = f"{self.base_url}/c/{self._encrypt('click', target.decode('ascii', 'replace'), metadata)}"
            if not reason and len(address) <= MAX_URL_CHARACTERS:
                edits.append(Edit(anchor.href.start, anchor.href.end, address.encode("ascii"), "click"))
        at = pixel.find_place(markup)
        if opens and at is not None and f"{self.base_url}/o/".encode() not in octets:
            address = f"{self.base_url}/o/{self._encrypt('open', '', metadata)}.png"
            if len(address) <= MAX_URL_CHARACTERS:
                edits.append(Edit(at, at, fill(pixel.TAG, lambda _: address.encode("ascii")), "pixel"))
        return sorted(edits, key=lambda edit: edit.start)

    def _with_defaults(self, metadata: Metadata | None) -> dict[str, Any]:
        return self._metadata | dict(metadata or {})

    def _mint(self, kind: Kind, url: str, metadata: Metadata | None) -> str:
        return self._encrypt(kind, url, self._with_defaults(metadata))

    def _encrypt(self, kind: Kind, url: str, metadata: Metadata) -> str:
        try:
            plain = json.dumps([url, metadata], separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, UnicodeEncodeError) as error:
            raise ValueError(f"metadata must be what JSON can hold: {error}") from None
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        head = bytes((_VERSION,))
        sealed = self._ciphers[kind][0].encrypt(deflate.compress(plain) + deflate.flush(), [head])
        return base_encoding.to_base64url(head + sealed).decode("ascii")

    def _require_short(self, address: str) -> str:
        if len(address) > MAX_URL_CHARACTERS:
            raise ValueError(
                f"the address would have {len(address)} characters; at most {MAX_URL_CHARACTERS} work everywhere"
            )
        return address


def tracker_from_environment(environment: Mapping[str, str] = os.environ) -> Tracker:
    """The tracker of this environment: `$WAYPOST_TRACKING_URL`, and `$WAYPOST_TRACKING_SECRET` (several with spaces
    between them, the newest first); what is not set is taken from the relay's configuration (`$WAYPOST_CONFIG`, else
    `./config.toml` or `/etc/waypost/config.toml`), its `public_url` and a secret of its key ring. Raises ValueError
    that says what to set."""
    url, secret = environment.get("WAYPOST_TRACKING_URL", ""), environment.get("WAYPOST_TRACKING_SECRET", "").split()
    if not url or not secret:
        path = load.find_file(None, environment)
        if path is None:
            raise ValueError(
                "set WAYPOST_TRACKING_URL and WAYPOST_TRACKING_SECRET, or WAYPOST_CONFIG, or pass a Tracker"
            )
        try:
            config = load.load(path, environment)
        except load.ConfigError as error:
            raise ValueError(str(error)) from None
        url = url or config.tracking.public_url
        secret = secret or [tokens.open_key_ring(config.relay.data_dir / "keys.json").derive_secret("library").hex()]
    return Tracker(url, secret)


def _as_list(secret: Secret | Sequence[Secret]) -> list[Secret]:
    return [secret] if isinstance(secret, (str, bytes)) else list(secret)


def _cipher(secret: Secret, kind: Kind) -> AESSIV:
    octets = secret if isinstance(secret, bytes) else secret.encode("utf-8")
    return key_derivation.derive_cipher(octets, b"waypost/library/1/" + kind.encode())
