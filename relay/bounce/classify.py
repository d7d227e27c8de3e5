"""Judge a reply: is the address dead, the mailbox full, the sender blocked, the upstream ill?

In: a reply, the phase of the transaction it answers, the upstream's name.  Out: a Verdict that names
its category and the rule that decided.  Pure; any text gets an answer.  RFC 5321 §4.2, RFC 3463,
RFC 5248 and its registry; what the large receivers say beyond those is in `rules.toml`.

The code says whether an answer is final, everything else only says why: a 4xx never kills an
address, and an enhanced status of another class than its code does not change the code.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import relay.reply
from relay.bounce import phrases


class Phase(StrEnum):
    """What a reply answers: the greeting, a command, or the final dot."""

    CONNECT = "connect"
    HELO = "helo"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    DOT = "dot"


class BounceKind(StrEnum):
    HARD = "hard"
    SOFT = "soft"
    NONE = "none"


class Category(NamedTuple):
    """`retry`: try again even after a 5xx. `suppress`: a 5xx of this category ends mail to the address."""

    kind: BounceKind
    suppress: bool
    retry: bool
    advice: str


class Verdict(NamedTuple):
    """`retry`: the queue should try this recipient again; `status`: enhanced status, `""` if none."""

    kind: BounceKind
    category: str
    rule: str
    suppress: bool
    retry: bool
    status: str


class Rule(NamedTuple):
    """One rule of the file. An empty condition is no condition; statuses are without their class."""

    name: str
    category: str
    codes: tuple[str, ...]
    statuses: frozenset[str]
    phases: frozenset[Phase]
    upstreams: tuple[str, ...]
    unless: tuple[phrases.Phrase, ...]
    samples: tuple[str, ...]


class _PhaseOverride(NamedTuple):
    """Before RCPT nothing is the recipient's fault: these categories become that one."""

    name: str
    categories: frozenset[str]
    category: str


class _IndexEntry(NamedTuple):
    """One way to a rule. The order is unique, so sorting never compares further.

    `scope`: where the phrase is searched for: in the `whole` text; or first in the text `outside` of links, and then,
    by a second entry, in the text with its `links`.
    """

    order: int
    rule: Rule
    phrase: phrases.Phrase | None
    scope: str


_LAYERS = ("transport", "provider", "text", "status", "code", "class")
_DOUBT = "doubt"
_RULE_KEYS = {"name", "category", "match", "unless", "code", "status", "phase", "upstream", "sample"}
# Trouble in these is the upstream's and passes with it, whatever code it chose.
_INFRASTRUCTURE = frozenset({Phase.CONNECT, Phase.HELO, Phase.AUTH})

# RFC 3463 §2, anywhere in a text: "#5.1.0 Address rejected", "sorry (#5.1.1)". Not inside an IP address.
_STATUS = re.compile(r"(?<![\w.])[245]\.[0-9]{1,3}\.[0-9]{1,3}(?![\w.]*[0-9])")


def _parse_phrases(value: object, word_classes: Mapping[str, tuple[str, ...]]) -> list[phrases.Phrase]:
    return [phrases.parse_phrase(phrase, word_classes) for phrase in value] if isinstance(value, list) else []


def _expand_statuses(entries: list[str]) -> Iterator[str]:
    """`7.606-649` is each of these; `""` is no status at all."""
    for entry in entries:
        first, _, last = entry.partition("-")
        subject, _, detail = first.partition(".")
        for number in range(int(detail or 0), int(last or detail or 0) + 1):
            yield f"{subject}.{number}" if entry else ""


class _RuleIndex:
    """The rules file, read and indexed: a text's words lead to the few rules worth trying."""

    # Any: what TOML holds is known only after the checks below.
    def __init__(self, toml: Mapping[str, Any]) -> None:
        self.categories: dict[str, Category] = {
            name: Category(BounceKind(c["kind"]), c["suppress"], c["retry"], c["advice"])
            for name, c in toml["category"].items()
        }
        self.word_classes = {name: tuple(words) for name, words in toml["words"].items()}
        self.phase_overrides: dict[Phase, _PhaseOverride] = {}
        self.override_samples: dict[str, tuple[str, ...]] = {}
        for phase, override in toml["phase"].items():
            name = f"phase.{phase}"
            self.phase_overrides[Phase(phase)] = _PhaseOverride(name, frozenset(override["turns"]), override["into"])
            self.override_samples[name] = tuple(override["sample"])
        self.rules: list[Rule] = []
        self.index: dict[str, list[_IndexEntry]] = {}
        self.doubts: dict[str, list[_IndexEntry]] = {}
        self._order = 0
        matches: dict[str, Any] = {}
        for layer in (*_LAYERS, _DOUBT):
            linked = []
            index = self.doubts if layer == _DOUBT else self.index
            for entry in toml[layer]:
                match = entry.get("match")
                matches[f"{layer}.{entry['name']}"] = match
                rule = self._read_rule(layer, entry)
                parsed = _parse_phrases(matches[match] if isinstance(match, str) else match, self.word_classes)
                for phrase in parsed:
                    self._add_entry(index, phrase.keys, rule, phrase, "outside" if layer == "text" else "whole")
                if match is None:
                    keys = [f"#{s}" for s in rule.statuses] or [f"={c}" for c in rule.codes]
                    self._add_entry(index, keys, rule, None)
                linked += [(rule, phrase) for phrase in parsed if layer == "text"]
            for rule, phrase in linked:
                self._add_entry(index, phrase.keys, rule, phrase, "links")

    # Any: as above.
    def _read_rule(self, layer: str, entry: Mapping[str, Any]) -> Rule:
        rule = Rule(
            name=f"{layer}.{entry['name']}",
            category=entry["category"],
            codes=tuple(entry.get("code", ())),
            statuses=frozenset(_expand_statuses(entry.get("status", []))),
            phases=frozenset(Phase(phase) for phase in entry.get("phase", ())),
            upstreams=tuple(entry.get("upstream", ())),
            unless=tuple(_parse_phrases(entry.get("unless"), self.word_classes)),
            samples=tuple(entry["sample"]),
        )
        if unknown := entry.keys() - _RULE_KEYS:
            raise ValueError(f"{rule.name}: unknown keys {sorted(unknown)}")
        if rule.category not in self.categories:
            raise ValueError(f"{rule.name}: unknown category {rule.category!r}")
        self.rules.append(rule)
        return rule

    def _add_entry(
        self,
        index: dict[str, list[_IndexEntry]],
        keys: Iterable[str],
        rule: Rule,
        phrase: phrases.Phrase | None,
        scope: str = "whole",
    ) -> None:
        self._order += 1
        for key in keys:
            index.setdefault(key, []).append(_IndexEntry(self._order, rule, phrase, scope))

    def find_rule(self, code: int, status: str, text: str, phase: Phase, upstream: str) -> Rule | None:
        """The first rule, in the file's order, that holds; where it is a hard one, a doubt that holds beside it."""
        words = phrases.tokenize(text)
        found = self._first_match(self.index, words, code, status, text, phase, upstream)
        if found and self.categories[found.category].kind is BounceKind.HARD:
            return self._first_match(self.doubts, words, code, status, text, phase, upstream) or found
        return found

    def _first_match(
        self,
        index: Mapping[str, list[_IndexEntry]],
        words: list[str],
        code: int,
        status: str,
        text: str,
        phase: Phase,
        upstream: str,
    ) -> Rule | None:
        number = str(code)
        detail = status.partition(".")[2]
        entries: list[_IndexEntry] = []
        for word in {*words, f"#{detail}", f"={number}", f"={number[0]}"}:
            if word in index:
                entries += index[word]
        if not entries:
            return None
        entries.sort()
        known = 200 <= code < 600
        whole = phrases.canonical_text(words)
        bare = phrases.remove_links(text)
        outside = whole if bare is text else phrases.canonical_text(phrases.tokenize(bare))
        for _, rule, phrase, scope in entries:
            searched = outside if scope == "outside" else whole
            if scope == "links" and outside is whole:
                continue
            # First what excludes most.
            if phrase is not None and not phrase.search(searched):
                continue
            # Outside SMTP's codes only the rules that ask for such a code have a say.
            if not number.startswith(rule.codes) if rule.codes else not known:
                continue
            if rule.statuses and detail not in rule.statuses:
                continue
            if rule.phases and phase not in rule.phases:
                continue
            if rule.upstreams and not any(name in upstream for name in rule.upstreams):
                continue
            if not any(exception.search(searched) for exception in rule.unless):
                return rule
        return None


RULES = _RuleIndex(tomllib.loads(Path(__file__).with_name("rules.toml").read_text(encoding="utf-8")))
CATEGORIES: Mapping[str, Category] = RULES.categories


def classify_reply(reply: relay.reply.Reply, phase: Phase = Phase.RCPT, upstream: str = "") -> Verdict:
    """The verdict on a reply. Never raises; what nobody understands is `undetermined` and soft.

    `retry` follows the code: 4xx yes, 5xx no. The exceptions: before MAIL the trouble is the upstream's and
    is tried again; so are the categories whose `retry` says so. After DATA a reply speaks for every
    recipient of the transaction: with several, a hard verdict names none of them.
    """
    status = reply.status or find_status(reply.text)
    if 200 <= reply.code < 400:
        return Verdict(BounceKind.NONE, "accepted", "class.accepted", False, False, status)
    # X.0.0 and Exchange's 5.0.350 only wrap what the text quotes.
    own_status = (find_status(reply.text) if status[1:4] == ".0." else "") or status
    # No code, but a status (some hosts send only that): its class is all we have.
    code = reply.code or (int(status[0]) * 100 + 50 if status[:1] in ("4", "5") else 0)
    rule = RULES.find_rule(code, "" if own_status.startswith("2") else own_status, reply.text, phase, upstream)
    name, found = (rule.name, rule.category) if rule else ("class.none", "undetermined")
    override = RULES.phase_overrides.get(phase)
    if override and found in override.categories:
        name, found = override.name, override.category
    category = CATEGORIES[found]
    permanent = 500 <= code < 700
    kind = category.kind if permanent else BounceKind.SOFT
    return Verdict(
        kind=kind,
        category=found,
        rule=name,
        suppress=category.suppress and kind is BounceKind.HARD,
        retry=not permanent or category.retry or phase in _INFRASTRUCTURE,
        status=status,
    )


def find_status(text: str) -> str:
    """The first enhanced status in a text; `""` if it has none."""
    found = _STATUS.search(text, 0, phrases.MAX_CHARACTERS)
    return found[0] if found else ""


def advice_for(category: str) -> str:
    """One sentence for the operator; for a category that we do not know, the one for `undetermined`."""
    return CATEGORIES.get(category, CATEGORIES["undetermined"]).advice


def verdict_as_json(verdict: Verdict) -> dict[str, str | bool]:
    """The object that `waypost classify` prints."""
    return {
        "kind": verdict.kind.value,
        "category": verdict.category,
        "rule": verdict.rule,
        "suppress": verdict.suppress,
        "retry": verdict.retry,
        "status": verdict.status,
    }
