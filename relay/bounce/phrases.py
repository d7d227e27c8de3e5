"""The small language in which a rule says what a reply's text must hold.

In: a phrase such as `mailbox/account is? full`.  Out: a Phrase, which knows the words to index it by
and the pattern to search for in a text's canonical form: lower case, no accents, words only, `@` for any address.

    word         that word                a/b      one of these
    word*        a word that begins so    word?    may be absent
    .            up to three words         ..       up to eight words
    WHO          one of the words listed under that name, alone or among alternatives

Words lead to the few phrases worth searching for: 22 µs a reply for 1,300 phrases. One regular expression per
rule took more than twice as long, and would differ from rule to rule in how it treats quotes and brackets.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

# What an address spells is its owner's text, not the server's: "<no.spam@example.com>".
# RFC 5321 §4.5.3.1.1 bounds a local part at 64 octets; the bound also keeps this linear.
_ADDRESS = re.compile(r"[^\s<>@()]{1,64}@[\w.\-\[\]]+")
_IPV4 = re.compile(r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}")
_WORD = re.compile(r"[^\W_]+|@")
# What a link holds was written for a browser: ".../spam-policy?ip=203.0.113.9".
_LINK = re.compile(r"(?:https?:/{0,2}|www\.)\S+")
# Chinese and Japanese put no spaces between words; each character counts as one.
_IDEOGRAPH = re.compile("([\u3040-\u30ff\u3400-\u9fff])")
_ONE_SPELLING = (
    ("n't", " not"), ("cannot", "can not"), ("e-mail", "email"), ("'", ""), ("mail-box", "mailbox"),
    ("mail box", "mailbox"), ("local-part", "localpart"), ("local part", "localpart"),
    ("user name", "username"), ("user id", "userid"),
)  # fmt: skip
_GAPS = {".": r"(?: \S++){0,3}?", "..": r"(?: \S++){0,8}?"}

# Longer replies exist only where somebody plays with us.
MAX_CHARACTERS = 4096


@dataclass(frozen=True)
class Phrase:
    """`keys`: words of which a text must have one for the phrase to be worth searching for."""

    keys: tuple[str, ...]
    source: str

    @cached_property
    def search(self) -> Callable[[str], object]:
        """True for a canonical text that has the phrase."""
        # Compiled when first needed: all of them at import would double its 40 ms.
        return re.compile(self.source).search


def tokenize(text: str) -> list[str]:
    """The words of a text: lower case, `@` for any address, `ipv4` for one of those, `not` for `n't`."""
    lower = _fold(text[:MAX_CHARACTERS].lower())
    for written, meant in _ONE_SPELLING:
        lower = lower.replace(written, meant)
    if "@" in lower:
        lower = _ADDRESS.sub(" @ ", lower)
    return _WORD.findall(_IPV4.sub(" ipv4 ", lower))


def remove_links(text: str) -> str:
    """The text as it would read without its links."""
    return _LINK.sub(" ", text[:MAX_CHARACTERS]) if "://" in text or "www." in text else text


def _fold(lower: str) -> str:
    """Without accents, and with each ideograph apart: servers write `não` and `nao`, `Empfänger` and `Empfanger`."""
    if lower.isascii():
        return lower
    bare = "".join(c for c in unicodedata.normalize("NFD", lower.replace("’", "'")) if not unicodedata.combining(c))
    return _IDEOGRAPH.sub(r" \1 ", bare)


def canonical_text(words: Iterable[str]) -> str:
    """The form that patterns are searched in: each word between single spaces, one at either end."""
    return f" {' '.join(words)} "


def parse_phrase(phrase: str, word_classes: Mapping[str, tuple[str, ...]]) -> Phrase:
    """The phrase, ready for use. Raises ValueError for one that could never hold, or that no word could index.

    Words listed as COMMON are in half of all replies and make poor keys: measured, keeping off them
    saves a third of the searches.
    """
    common = word_classes.get("COMMON", ())
    source: list[str] = []
    places: list[tuple[str, ...]] = []
    for token in _fold(phrase).split():
        if token in _GAPS:
            source.append(_GAPS[token])
            continue
        optional = token.endswith("?")
        plain = token.removesuffix("?")
        choices = tuple(word for choice in plain.split("/") for word in word_classes.get(choice, (choice,)))
        pattern = " " + _alternatives(choices)
        source.append(f"(?:{pattern})?" if optional else pattern)
        if not optional and not any(choice.endswith("*") for choice in choices):
            places.append(choices)
        if not all(re.fullmatch(r"@|[^\W_A-Z]+\*?", choice) for choice in choices):
            raise ValueError(f"phrase {phrase!r} has a word that no text can have, or a name without a list")
    if not places:
        raise ValueError(f"phrase {phrase!r} has no whole word that must be there")
    keys = min(places, key=lambda choices: sum(8 if word in common else 1 for word in choices))
    return Phrase(keys, "".join(source) + "(?= )")


def _alternatives(choices: tuple[str, ...]) -> str:
    parts = [re.escape(c.removesuffix("*")) + (r"\S*" if c.endswith("*") else "") for c in choices]
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"
