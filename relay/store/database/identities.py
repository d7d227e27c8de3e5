"""How an address is stored: as itself, as a keyed pseudonym, or not at all (`[privacy] mode`).

In: addresses, and texts that may quote them.  Out: what is stored in their place.  A pseudonym is an HMAC (RFC 2104)
of the canonical address under a key that is kept outside the database. An address always has the same pseudonym, so
that unique counts work and an unsubscribe holds. Without the key a pseudonym does not lead to an address.
"""

import functools
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from relay import address, base_encoding, redaction

KEY_PURPOSE = "people"  # for `tokens.KeyRing.derive_secret`; it is one of `tokens.LASTING_PURPOSES`
_EXECUTION_OPTION = "waypost_people"
PSEUDONYM_PREFIX = "~"  # no address begins so and has no @
_PSEUDONYM_OCTETS = 16
_RECEIPT_WORD, _MAX_RECEIPT_WORDS = re.compile(r"[\w-]{8,}"), 8  # words of a 250 that may be an id


@dataclass(frozen=True, slots=True)
class IdentityPolicy:
    """How this installation stores addresses."""

    mode: str = "full"
    key: bytes = b""
    requires_consent: bool = False  # only recipients who consented are tracked

    @property
    def redacts(self) -> bool:
        """True if no address is kept once its delivery has ended."""
        return self.mode in ("pseudonymous", "aggregate")

    def pseudonym(self, mailbox: str) -> str:
        """Returns `~` and 26 characters. A pseudonym and `""` are returned as they are."""
        if not mailbox or is_pseudonym(mailbox) or not self.key:
            return mailbox
        return self._pseudonym(address.canonical(mailbox))

    def _pseudonym(self, canonical: str) -> str:
        mac = _keyed_hmac(self.key).copy()
        mac.update(canonical.encode("utf-8", "surrogatepass"))
        return PSEUDONYM_PREFIX + base_encoding.to_base32hex(mac.digest()[:_PSEUDONYM_OCTETS])

    def stored_name(self, mailbox: str) -> str:
        """The name under which suppressions and consent are stored."""
        return self.pseudonym(mailbox) if self.redacts else address.canonical(mailbox)

    def possible_names(self, mailbox: str) -> list[str]:
        """All names under which an entry may be stored. The mode may have been `full` before; an erased address is a
        pseudonym; and an earlier version spelled internationalised domains as they came."""
        who = address.canonical(mailbox)
        names = [who, self._pseudonym(who) if self.key and mailbox and not is_pseudonym(mailbox) else mailbox]
        if mailbox == who and mailbox.isascii() and "xn--" not in mailbox and not mailbox.startswith('"'):
            return names  # nearly always: it never had another name
        for earlier in address.earlier_canonicals(mailbox):
            names += [earlier, self._pseudonym(earlier) if self.key else earlier]
        return list(dict.fromkeys(names))

    def canonical_by_name(self, mailboxes: Iterable[str]) -> dict[str, str]:
        """Maps each name under which the addresses may be stored to the canonical address."""
        return {name: address.canonical(mailbox) for mailbox in set(mailboxes) for name in self.possible_names(mailbox)}

    def event_recipient(self, mailbox: str) -> str:
        """The recipient, as an event and a settled delivery have it."""
        if self.mode == "aggregate":
            return ""
        return self.pseudonym(mailbox) if self.redacts else mailbox

    def redact_reply(self, code: int, text: str, recipient: str, *, is_ours: bool) -> str:
        """Returns a reply's text as it is stored.

        Servers quote the address in more ways than we can know, so their texts are dropped. The words of a positive
        reply are kept as digests: an upstream may name the mail by one of them later.
        """
        if not self.redacts:
            return text
        if is_ours:
            return redaction.redact(redaction.redact_addresses(text), redaction.identifying_strings([recipient]))
        if self.mode == "aggregate" or not 200 <= code < 300:
            return ""
        if text and all(map(is_pseudonym, text.split())):
            return text  # it is redacted already
        return " ".join(self.digest(word) for word in _RECEIPT_WORD.findall(text)[:_MAX_RECEIPT_WORDS])

    def digest(self, text: str) -> str:
        """Returns what is stored of another system's id, which may contain an address: always the same, and one-way."""
        return self._pseudonym(text)

    def identifying_strings(self, mailboxes: Iterable[str]) -> frozenset[str]:
        """Returns the strings that would identify one of the addresses; none if addresses are stored."""
        if not self.redacts:
            return frozenset()
        return redaction.identifying_strings(mailboxes, with_local_part=self.mode == "aggregate")


@functools.lru_cache(4)
def _keyed_hmac(key: bytes) -> hmac.HMAC:
    """Nothing under that key yet. (`hmac.digest` lets other threads run meanwhile: the event loop waited for them.)"""
    return hmac.new(key, digestmod="sha256")


def policy_for(connection: sa.Connection) -> IdentityPolicy:
    """Returns the policy of the store that this connection belongs to."""
    found = connection.get_execution_options().get(_EXECUTION_OPTION)
    return found if isinstance(found, IdentityPolicy) else IdentityPolicy()


def engine_options(people: IdentityPolicy) -> dict[str, IdentityPolicy]:
    """Returns the execution options of an engine whose connections have this policy."""
    return {_EXECUTION_OPTION: people}


def is_pseudonym(text: str) -> bool:
    return text.startswith(PSEUDONYM_PREFIX) and "@" not in text
