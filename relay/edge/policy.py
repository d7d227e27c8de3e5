"""Who may do what: networks, credentials, limits. Decides and raises `RefusedError`; does nothing itself."""

from functools import lru_cache, partial

from relay import address, ip_addresses
from relay.config.schema import Config
from relay.config.smtp import ListenConfig, UserConfig
from relay.envelope import Client
from relay.mime import fields
from relay.reply import refusal
from relay.rewrite import mailboxes

MAX_HOPS = 100  # RFC 5321 §6.3
MAX_REPORTS_RATE = 8 << 20  # octets a second of all strangers' mail; a tenth of a processor
MAX_OWN_HOPS = 2  # Received fields of our own: a list server may send back what it got, a loop does so again
OUT_OF_MEMORY_BUDGET = (452, "4.3.1", "too much mail is coming in at once; please try again shortly")


class Policy:
    """The rules of one configuration, and the octets that are being taken in."""

    def __init__(self, config: Config) -> None:
        self._access = config.access
        self._users = {user.name: user for user in config.access.user} if config.access.auth == "users" else {}
        self._offers_auth = bool(self._users) or config.access.auth == "upstream"
        self._upstream_senders = [upstream.senders for upstream in config.upstream]
        self._has_sender_rules = bool(self._upstream_senders) and not any(
            "*" in senders for senders in self._upstream_senders
        )
        self._is_in_networks = lru_cache(maxsize=4096)(partial(ip_addresses.is_in, networks=config.access.networks))
        self._in_flight = {True: 0, False: 0}  # octets, of clients that may relay and of strangers
        self._reports_read_until_s = (
            0.0  # until then we are busy with what strangers have sent, at the rate that they may have
        )

    # --- connections

    def may_use_proxy_protocol(self, ip: str, listen: ListenConfig) -> bool:
        """True if a PROXY header from that address is believed."""
        return ip_addresses.is_in(ip, listen.proxy_networks)

    # --- mail

    def offers_auth(self, client: Client) -> bool:
        """AUTH is for known users, and never in clear over a network."""
        return self._offers_auth and (client.tls or ip_addresses.is_loopback_host(client.ip))

    def find_user(self, name: str) -> UserConfig | None:
        return self._users.get(name)

    def check_sender(self, client: Client, reverse_path: str) -> None:
        """Raises RefusedError unless the client may relay mail with that reverse-path."""
        if client.user:
            user = self._users.get(client.user)  # none: the upstream knows the user, and whom it may send as
            if user and not address.matches_any(reverse_path, user.senders):
                raise refusal(553, "5.7.1", "this user may not send as this address (senders)")
        elif not self._is_in_networks(client.ip):
            if self._offers_auth:
                raise refusal(
                    530, "5.7.0", f"authentication required{'' if self.offers_auth(client) else ', under TLS'}"
                )
            raise refusal(550, "5.7.1", "relaying denied: your address is not in [access] networks")
        if self._has_sender_rules and not any(
            address.matches_any(reverse_path, senders) for senders in self._upstream_senders
        ):
            raise refusal(550, "5.7.1", "no [[upstream]] sends for this address (senders)")

    def check_author(self, client: Client, octets: bytes, head: fields.Head) -> None:
        """Raises RefusedError unless the user may send as everybody whom the mail says it is from.

        `senders` that named only the reverse-path would let an account write as anybody: readers show From. Mail
        without a From names nobody, and may go; one that may send as all may write as all.
        """
        user = self._users.get(client.user)
        if user is None or "*" in user.senders:
            return
        authors = head.fields_named(b"from")
        if len(authors) > 1:  # programs differ in which one they show
            raise refusal(550, "5.7.1", "this user's mail may have one From field only (senders)")
        for field in (*authors, *head.fields_named(b"sender")):
            who = mailboxes.parse_mailboxes(fields.unfold_value(octets, field))
            if not who or not all(address.matches_any(mailbox, user.senders) for mailbox in who):
                name = field.name.decode("ascii").capitalize()
                raise refusal(550, "5.7.1", f"this user may not send as what {name} says (senders)")

    def check_recipient_count(self, recipients_so_far: int) -> None:
        if recipients_so_far >= self._access.max_recipients:
            raise refusal(452, "4.5.3", f"too many recipients; at most {self._access.max_recipients} a message")

    def may_relay(self, client: Client) -> bool:
        """False for a stranger, who may bring reports only."""
        return bool(client.user) or self._is_in_networks(client.ip)

    def max_size(self, *, is_report: bool) -> int:
        return min(self._access.max_size, self._access.max_report_size) if is_report else self._access.max_size

    def check_size(self, declared_octets: int, *, is_report: bool) -> None:
        limit = self.max_size(is_report=is_report)
        if declared_octets > limit:
            raise refusal(552, "5.3.4", f"message is larger than the {limit} octets allowed here")

    # --- octets in memory

    # Strangers have a budget of their own, so that their mail never keeps out that of clients that may relay.

    def check_memory_budget(self, declared_octets: int, *, may_relay: bool) -> None:
        """Raises RefusedError where a message of that size exceeds the budget, with those that are being received."""
        if self._in_flight[may_relay] + declared_octets > self._max_in_flight(may_relay):
            raise refusal(*OUT_OF_MEMORY_BUDGET)

    def count_octets(self, octets: int, *, may_relay: bool) -> bool:
        """Counts octets that have arrived; False if they are too many. `release_octets` follows in any case."""
        self._in_flight[may_relay] += octets
        return self._in_flight[may_relay] <= self._max_in_flight(may_relay)

    def release_octets(self, octets: int, *, may_relay: bool) -> None:
        self._in_flight[may_relay] -= octets

    def pause_s(self, octets: int, now: float) -> float:
        """How long a stranger that sent these is to wait, so that all strangers together keep to their rate."""
        self._reports_read_until_s = max(self._reports_read_until_s, now) + octets / MAX_REPORTS_RATE
        return self._reports_read_until_s - now

    def _max_in_flight(self, may_relay: bool) -> int:
        return self._access.max_in_flight if may_relay else self._access.max_reports_in_flight
