"""How messages are to be rewritten, as the configuration and their envelope say.

In: an accepted message.  Out: its rewrite settings, and the providers among the upstreams.
"""

from relay import address, redaction
from relay.config.schema import Config
from relay.envelope import AcceptedMessage
from relay.rewrite import provider_dialects
from relay.rewrite.plan import Settings

_MAX_CACHED = 256


class RewriteSettings:
    """The settings of one configuration."""

    def __init__(self, config: Config, *, only_crlf: bool = False) -> None:
        """`only_crlf`: all lines of all messages end in CRLF."""
        self._config = config
        self._only_crlf = only_crlf
        self._cache: dict[tuple[bool, tuple[str, ...], str], Settings] = {}  # making them takes 50 µs a message
        self._providers = [
            (one.senders, provider_dialects.find_provider(one.provider, one.address.host)) for one in config.upstream
        ]

    def for_message(self, accepted: AcceptedMessage) -> Settings:
        """How this message is to be rewritten."""
        envelope = accepted.envelope
        key = bool(envelope.reverse_path), self._providers_for(envelope.reverse_path), accepted.client.user
        shared = self._cache.get(key)
        if shared is None:
            if len(self._cache) >= _MAX_CACHED:
                self._cache.clear()
            shared = self._cache[key] = self._make(*key)
        return shared._replace(
            stream=envelope.stream,
            prepended_fields=accepted.prepended_fields,
            identifying_strings=_identifying_strings(self._config, accepted),
        )

    def _make(self, has_sender: bool, providers: tuple[str, ...], user: str) -> Settings:
        config, tracking, unsubscribe = self._config, self._config.tracking, self._config.unsubscribe
        is_tracked = config.privacy.mode != "off"
        header = unsubscribe.header if config.privacy.has_recipient_tokens else "for_nobody"
        return Settings(
            public_url=tracking.public_url,
            opens=tracking.opens and is_tracked,
            clicks=tracking.clicks and is_tracked,
            exclude=frozenset(host.lower() for host in tracking.exclude),
            text_is_url=tracking.text_is_url,
            text_links=tracking.text_links,
            already_signed=tracking.already_signed,
            # A notification is not list mail: nobody subscribed to it.
            unsubscribe_header=header if has_sender or header == "off" else "for_notification",
            unsubscribe_streams=tuple(unsubscribe.streams),
            unsubscribe_exempt=tuple(unsubscribe.exempt),
            unsubscribe_mailto=unsubscribe.mailto,
            unsubscribe_mailto_at=config.bounces.return_path,
            dialects=tuple(tracking.dialects),
            providers=providers,
            dkim=frozenset(key.domain for key in config.dkim.key),
            may_store_urls=True,
            only_crlf=self._only_crlf,
            authors=_authors(config, user),
        )

    def _providers_for(self, reverse_path: str) -> tuple[str, ...]:
        """The providers among the upstreams that may serve the mail: one takes over when another is down."""
        names = [name for senders, name in self._providers if name and address.matches_any(reverse_path, senders)]
        return tuple(dict.fromkeys(names))


def _identifying_strings(config: Config, accepted: AcceptedMessage) -> frozenset[str]:
    """Strings that no tracked link may contain, because the link and its clicks would identify a recipient."""
    if config.privacy.has_recipient_tokens:
        return frozenset()
    return redaction.identifying_strings((one.mailbox for one in accepted.envelope.recipients), with_local_part=True)


def _authors(config: Config, user: str) -> tuple[str, ...]:
    """The authors that this account may send as. A network that may relay may send as anybody. With `auth = "upstream"`
    only the upstream knows: if the user's name is an address, we sign for its domain, else for none."""
    if not user:
        return ("*",)
    if config.access.auth == "upstream":
        return (f"@{address.domain(user)}",) if "@" in user else ()
    return tuple(next((one.senders for one in config.access.user if one.name == user), ()))
