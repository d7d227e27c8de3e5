"""Find texts on which a pattern takes more than linear time.

In: a compiled pattern and the ways it is used.  Out: the way and the text that prove it superlinear, or None. Texts are
a beginning, a unit that is repeated, and an end; beginnings and units come from the pattern's own parse tree. CPU times
are only compared with one another, so that no result depends on the machine.
"""

import re
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import islice, product
from re import _constants as ops  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

Tree = Iterable[tuple[Any, Any]]  # what `re._parser` gives
_LENGTHS = (128, 512)  # of the texts that every pattern sees
_MAX_LENGTH = 32_768
_QUICK_RATIO = 4.8  # 4 is linear, 16 quadratic
_RATIO = 3  # for twice the length: 2 is linear, 4 quadratic
_LINEAR_RATIO = 2.15
_SURE_NS = 20_000_000  # from here on a ratio is no noise
_LIMIT_S = 0.5
_REPEATS = (ops.MAX_REPEAT, ops.MIN_REPEAT, ops.POSSESSIVE_REPEAT)
_MANY = 64  # a repeat of fewer is no repeat
_CATEGORIES = {
    ops.CATEGORY_DIGIT: r"\d", ops.CATEGORY_NOT_DIGIT: r"\D", ops.CATEGORY_SPACE: r"\s",
    ops.CATEGORY_NOT_SPACE: r"\S", ops.CATEGORY_WORD: r"\w", ops.CATEGORY_NOT_WORD: r"\W",
}  # fmt: skip
# The first of those that a set takes stands for them all.
_CHARACTERS = "ax0 \t\r\n-_.,;:@<>=\"'/\\&%#?!()[]{}|*+~^$`" + "".join(map(chr, range(256))) + "中한İٓ\u2028٣"
_COMMON = (
    " ", "\t", "\r\n", "\n", "\r", "a", "1", "<", ">", "@", "@a", "a@", "é", "::", ":", "a:", "a.", ".a", "-", "--",
    "=", "a=", '"', '\\"', "'", "(", "()", "[", "{{", "%", "%40", "&#", "&#1;", "/", "//", "http://", "www.", "<a ",
    "<!--", "a b", " a", " \n", "\n ", "> ", "=?", ",", ";", ", ", "中", "\0", "Re: ",
)  # fmt: skip
_ENDS = ("\0", "", "\n", "x")
_MAX_UNITS, _MAX_BEGINNINGS = 100, 6


class Text(NamedTuple):
    beginning: str
    unit: str
    end: str

    def of(self, length: int) -> str:
        return self.beginning + self.unit * (length // len(self.unit) + 1) + self.end


def superlinear(pattern: re.Pattern[Any], ways: Iterable[str]) -> tuple[str, Text] | None:
    """A way and a text by which the pattern takes more than linear time."""
    texts = list(dict.fromkeys(_texts(pattern)))
    with _deadline():
        for way, text in product(ways, texts):
            if _is_superlinear(WAYS[way], pattern, text):
                return way, text
    return None


def _is_superlinear(use: "Use", pattern: re.Pattern[Any], text: Text) -> bool:
    try:
        short, long = (_time(use, pattern, text, n) for n in _LENGTHS)
        return long > _QUICK_RATIO * short and _grows(use, pattern, text)
    except TimeoutError:
        return True


def _grows(use: "Use", pattern: re.Pattern[Any], text: Text) -> bool:
    """True if a twice as long text takes much more than twice the time, up to where that is no noise."""
    length, linear = _LENGTHS[0], 0
    before = _time(use, pattern, text, length, 3)
    while length < _MAX_LENGTH and linear < 3:
        length *= 2
        now = _time(use, pattern, text, length, 3)
        if now > _SURE_NS and now > _RATIO * before:
            return True
        linear = linear + 1 if now < _LINEAR_RATIO * before else 0
        before = now
    return False


def _time(use: "Use", pattern: re.Pattern[Any], text: Text, length: int, times: int = 1) -> int:
    """The least CPU time of some tries, in nanoseconds."""
    subject: Any = text.of(length)
    if isinstance(pattern.pattern, bytes):
        subject = subject.encode()
    best = 1 << 62
    for _ in range(times):
        signal.setitimer(signal.ITIMER_VIRTUAL, _LIMIT_S)
        start = time.thread_time_ns()
        use(pattern, subject)
        best = min(best, time.thread_time_ns() - start)
    return best


@contextmanager
def _deadline() -> Iterator[None]:
    """Ends what backtracks without end. The engine looks for signals only within one match; as lengths grow step by
    step, that is enough."""

    def stop(*_: object) -> None:
        raise TimeoutError

    old = signal.signal(signal.SIGVTALRM, stop)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, old)


# --- ways of use

Use = Callable[[re.Pattern[Any], Any], None]


def _all(pattern: re.Pattern[Any], text: Any) -> None:
    deque(pattern.finditer(text), maxlen=0)


def _scan(pattern: re.Pattern[Any], text: Any) -> None:
    """`match(text, at)`, each time from where the last match ended."""
    at = 0
    while (found := pattern.match(text, at)) and found.end() > at:
        at = found.end()


def _search(pattern: re.Pattern[Any], text: Any) -> None:
    pattern.search(text)


def _match(pattern: re.Pattern[Any], text: Any) -> None:
    pattern.match(text)


def _fullmatch(pattern: re.Pattern[Any], text: Any) -> None:
    pattern.fullmatch(text)


WAYS: dict[str, Use] = {
    "search": _search, "match": _match, "fullmatch": _fullmatch, "finditer": _all, "scan": _scan,
}  # fmt: skip


# --- texts from a pattern


def _texts(pattern: re.Pattern[Any]) -> Iterator[Text]:
    tree = _parser.parse(pattern.pattern, pattern.flags)
    found = _Finder(pattern.flags)
    found.walk(tree, "")
    beginnings = list(dict.fromkeys(["", *found.beginnings]))[:_MAX_BEGINNINGS]
    units = list(dict.fromkeys(unit for unit in found.units if 0 < len(unit) < 60))[:_MAX_UNITS]
    for beginning, unit, end in product(beginnings, units, _ENDS):
        yield Text(beginning, unit, end)
    for beginning, unit, end in product(beginnings, _COMMON, _ENDS):
        yield Text(beginning, unit, end)


class _Finder:
    """Beginnings that lead to the repeats of a tree, and units for them."""

    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.beginnings: list[str] = []
        self.units: list[str] = []

    def walk(self, tree: Tree, before: str) -> None:
        nodes = list(tree)
        has_repeat = any(map(_is_many, nodes))
        for at, (op, arg) in enumerate(nodes):
            if _is_many((op, arg)):
                inside, behind = self.sample(arg[2]), nodes[at + 1 : at + 4]
                self.beginnings.append(before)
                self.units += [*self.members(arg[2]), *self.members(behind[:1])]
                self.units += [before + inside, inside + self.sample(behind), self.sample(behind)]
                around = nodes[: at + 1], nodes[: at + 4], nodes[max(0, at - 2) : at + 1]
                self.units += map(self.sample, around)
            for inner in _inner(op, arg):
                self.walk(inner, before)
                if has_repeat:
                    self.units.append(self.sample(inner))
            before += self.sample([(op, arg)])

    def sample(self, tree: Tree, choice: int = 0) -> str:
        """A short text that the tree takes, as far as that is easy."""
        text = ""
        for op, arg in tree:
            if op in (ops.LITERAL, ops.NOT_LITERAL, ops.IN, ops.ANY):
                taken = self.characters(op, arg)
                text += taken[choice % len(taken)] if taken else ""
            elif op in _REPEATS:
                text += self.sample(arg[2], choice) * min(max(arg[0], 1 if arg[1] > 1 else arg[0]), 100)
            elif op is ops.BRANCH:
                text += self.sample(arg[1][choice % len(arg[1])], choice)
            elif op is ops.SUBPATTERN:
                text += self.sample(arg[3], choice)
            elif op is ops.ATOMIC_GROUP:
                text += self.sample(arg, choice)
            elif op is ops.GROUPREF_EXISTS:
                text += self.sample(arg[1], choice)
        return text

    def members(self, tree: Tree) -> list[str]:
        """Texts of different kinds that it takes."""
        return list(dict.fromkeys(self.sample(tree, which) for which in (0, 1, 2, 3, 5, 8, 13)))

    def characters(self, op: Any, arg: Any) -> str:
        return _characters(op, tuple(arg) if isinstance(arg, list) else arg, self.flags)


@cache
def _characters(op: Any, arg: Any, flags: int) -> str:
    """Some of those that a set takes."""
    return "".join(islice((c for c in _CHARACTERS if _takes(op, arg, flags, c)), 40))


def _takes(op: Any, arg: Any, flags: int, c: str) -> bool:
    if op is ops.ANY:
        return c != "\n" or bool(flags & re.DOTALL)
    if op is ops.NOT_LITERAL:
        return bool(ord(c) != arg)
    if op is ops.IN:
        negated = arg[0][0] is ops.NEGATE
        return negated != any(_takes(kind, value, flags, c) for kind, value in arg[negated:])
    if op is ops.CATEGORY:
        return bool(re.fullmatch(_CATEGORIES[arg], c, flags & re.ASCII))
    codes = {ord(form) for form in ({c, c.lower(), c.upper()} if flags & re.IGNORECASE else {c}) if len(form) == 1}
    if op is ops.LITERAL:
        return arg in codes
    if op is ops.RANGE:
        return any(arg[0] <= code <= arg[1] for code in codes)
    raise AssertionError(f"unknown part of a pattern: {op}")


def _is_many(node: tuple[Any, Any]) -> bool:
    return node[0] in _REPEATS and node[1][1] >= _MANY


def _inner(op: Any, arg: Any) -> Iterator[Tree]:
    if op in _REPEATS:
        yield arg[2]
    elif op is ops.BRANCH:
        yield from arg[1]
    elif op is ops.SUBPATTERN:
        yield arg[3]
    elif op is ops.ATOMIC_GROUP:
        yield arg
    elif op in (ops.ASSERT, ops.ASSERT_NOT):
        yield arg[1]
    elif op is ops.GROUPREF_EXISTS:
        yield from filter(None, arg[1:])
