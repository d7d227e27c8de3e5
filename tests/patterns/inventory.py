"""List every pattern that relay and web compile, and how each is used.

Out: a Compiled for each. Three sources: what `re.compile` is given while all modules are imported; what functions
give to `re`, where module globals are enough to know it; and EXAMPLES of those that functions compose.
"""

import ast
import importlib
import json
import pkgutil
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGES = ("relay", "web")
_WAYS = {
    "search": "search", "match": "match", "fullmatch": "fullmatch", "finditer": "finditer", "findall": "finditer",
    "sub": "finditer", "subn": "finditer", "split": "finditer",
}  # fmt: skip


class Compiled(NamedTuple):
    place: str  # module, and its name there or its function
    pattern: re.Pattern[Any]
    ways: frozenset[str]


class Inventory(NamedTuple):
    patterns: list[Compiled]
    unknown: list[str]  # functions that compose a pattern and are not in EXAMPLES
    stale: list[str]  # what is there and composes none


def take() -> Inventory:
    """Imports all modules, so it belongs into a process of its own."""
    seen: list[tuple[str, re.Pattern[Any]]] = []
    compile_pattern = re.compile

    def noted(pattern: Any, flags: Any = 0) -> Any:
        compiled = compile_pattern(pattern, flags)
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if caller.partition(".")[0] in PACKAGES:
            seen.append((caller, compiled))
        return compiled

    re.compile = noted
    modules = [importlib.import_module(name) for name in _module_names()]
    re.compile = compile_pattern
    readings = {module.__name__: _Reading(module) for module in modules}
    names = {id(value): (module.__name__, name) for module in modules for name, value in _patterns_of(module)}
    by_name: dict[tuple[str, str], set[str]] = defaultdict(set)
    for reading in readings.values():
        for key, ways in reading.ways.items():
            by_name[key] |= ways
    found = []
    for caller, pattern in seen:
        module, name = names.get(id(pattern), (caller, ""))
        ways = by_name.get((module, name)) or readings[caller].other_ways or {"search"}
        found.append(Compiled(f"{module}.{name}", pattern, frozenset(ways)))
    composed = set()
    for reading in readings.values():
        found += reading.patterns
        composed |= reading.composed
    for place, make in EXAMPLES.items():
        found += [Compiled(place, pattern, frozenset(ways)) for pattern, ways in make()]
    unique = {(one.pattern, one.ways): one for one in found}
    return Inventory(list(unique.values()), sorted(composed - EXAMPLES.keys()), sorted(EXAMPLES.keys() - composed))


def _module_names() -> Iterator[str]:
    for package in PACKAGES:
        yield package
        for module in pkgutil.walk_packages([str(ROOT / package)], package + "."):
            if not module.name.endswith("__main__"):
                yield module.name


def _patterns_of(module: ModuleType) -> Iterator[tuple[str, re.Pattern[Any]]]:
    return ((name, value) for name, value in vars(module).items() if isinstance(value, re.Pattern))


class _Reading(ast.NodeVisitor):
    """What a module's source says of patterns."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.ways: dict[tuple[str, str], set[str]] = defaultdict(set)  # of patterns with a name
        self.other_ways: set[str] = set()  # in which this module uses those without one
        self.patterns: list[Compiled] = []
        self.composed: set[str] = set()
        self._functions: list[str] = []
        self.visit(ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8")))

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._functions.append(node.name)
        self.generic_visit(node)
        self._functions.pop()

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        assert node.module != "re", "only `re.compile` and the like are seen here"

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        way = _WAYS.get(node.attr)
        if not way:
            return
        try:
            owner = self._value(node.value)
        except Exception:
            if node.attr != "split":  # that one is a text's
                self.other_ways.add(way)
            return
        if isinstance(owner, re.Pattern):
            home, name = self._home(node.value)
            self.ways[home, name].add(way)

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        function = ast.unparse(node.func)
        if function == "wording.pattern":
            self._add_wording(node)
        elif function.startswith("re.") and function[3:] in {"compile", *_WAYS} and self._functions:
            try:
                pattern, flags = self._value(node.args[0]), self._flags(node, function[3:])
            except Exception:
                self.composed.add(self._place)
                return
            if isinstance(pattern, re.Pattern):  # seen where it was made
                return
            ways = {_WAYS[function[3:]]} if function != "re.compile" else self.other_ways
            self.patterns.append(Compiled(self._place, re.compile(pattern, flags), frozenset(ways)))
        elif isinstance(node.func, ast.Attribute) and node.func.attr == "match" and len(node.args) > 1:
            try:
                owner = self._value(node.func.value)
            except Exception:
                self.other_ways.add("scan")
                return
            if isinstance(owner, re.Pattern):
                self.ways[self._home(node.func.value)].add("scan")

    def _add_wording(self, node: ast.Call) -> None:
        """The lists of reports.toml: which, and what stands around it, are literals at each call."""
        from relay.bounce import word_lists

        arguments = [ast.literal_eval(argument) for argument in node.args]
        self.patterns.append(
            Compiled(f"{self._place} {arguments[:2]}", word_lists.list_pattern(*arguments), frozenset({"search"}))
        )

    @property
    def _place(self) -> str:
        return ".".join([self.module.__name__, *self._functions])

    def _value(self, node: ast.expr) -> Any:
        return eval(compile(ast.Expression(node), "", "eval"), dict(vars(self.module)))

    def _home(self, node: ast.expr) -> tuple[str, str]:
        if isinstance(node, ast.Attribute):
            return self._value(node.value).__name__, node.attr
        return self.module.__name__, ast.unparse(node)

    def _flags(self, node: ast.Call, function: str) -> int:
        at = {"compile": 1, "sub": 4, "subn": 4, "split": 3}.get(function, 2)
        said = [keyword.value for keyword in node.keywords if keyword.arg == "flags"] or node.args[at : at + 1]
        return int(self._value(said[0])) if said else 0


# --- those that functions compose

Examples = list[tuple[re.Pattern[Any], set[str]]]


def _none() -> Examples:
    return []  # they are seen elsewhere: at import, or where the function is called


def _phrases() -> Examples:
    """One for each form that a phrase of rules.toml has: which words it has makes no difference."""
    from relay.bounce import classify

    indexes = (classify.RULES.index, classify.RULES.doubts)
    clues = [clue for index in indexes for several in index.values() for clue in several]
    phrases = {clue.phrase for clue in clues if clue.phrase} | {one for clue in clues for one in clue.rule.unless}
    forms: dict[str, str] = {}
    for source in sorted(phrase.source for phrase in phrases):
        form = re.sub(r"(?<!\\)\b\w+", "word", source)
        forms.setdefault(re.sub(r"word(?:\\S\*)?(?:\|word(?:\\S\*)?)+", "words", form), source)
    return [(re.compile(source), {"search"}) for source in forms.values()]


def _agents() -> Examples:
    from relay.attribution import rules

    known = rules.load()
    agents = [known.people, *(pattern for _, pattern in known.prefetchers + known.scanners)]
    for proxy in known.proxies:
        agents += filter(None, (proxy.agent, proxy.unless))
    for one in known.obsolete + known.impossible:
        agents += filter(None, (one.agent, one.unless, one.platform))
    return [(agent, {"search", "fullmatch"}) for agent in agents]


def _lines_of_replies() -> Examples:
    return [(re.compile(rf"{before}550(?=[ -]|$)"), {"finditer"}) for before in (r"(?<!\s)\s+", r"\n")]


def _boundaries() -> Examples:
    return [(re.compile(rb"^--x(--)?[ \t]*+$", re.MULTILINE), {"finditer"})]


def _delimiters() -> Examples:
    return [(re.compile(rb"--x(--)?+[ \t]*+(?:\r?\n|\Z)"), {"finditer"})]


def _links() -> Examples:
    return [(re.compile(r"https://t\.example/([ocu])/([A-Za-z0-9_-]{20,900})"), {"finditer"})]


def _links_of_samples() -> Examples:
    return [(re.compile(rb"https://t\.example/([ocu])/[A-Za-z0-9_-]++(?:\.gif)?"), {"finditer"})]


def _return_paths() -> Examples:
    return [(re.compile(r"\b([bu]\+[0-9a-v]{20,60})@b\.example\b", re.IGNORECASE), {"finditer"})]


def _marks() -> Examples:
    from relay.rewrite import placeholders

    return [(placeholders._pattern(frozenset(placeholders._FORMS)), {"scan"})]


EXAMPLES: dict[str, Callable[[], Examples]] = {
    "relay.attribution.rules._pattern": _agents,
    "relay.bounce.reply_lines.parse_reply_line": _lines_of_replies,
    "relay.bounce.lenient_mime._split_multipart": _boundaries,
    "relay.bounce.phrases.search": _phrases,
    "relay.bounce.word_lists.list_pattern": _none,
    "relay.cli.demo._find_tracked_urls": _links_of_samples,
    "relay.delivery.report_process.read_mail": _links,
    "relay.return_path.find_candidates": _return_paths,
    "relay.rewrite.placeholders._pattern": _marks,
    "web.api.parameters.__init__": _none,
    "web.mail_parts._split_multipart": _delimiters,
}

# --- from one process to another


def as_json(inventory: Inventory) -> dict[str, Any]:
    patterns = [
        (place, pattern.pattern if is_text else pattern.pattern.decode("latin-1"), is_text, pattern.flags, sorted(ways))
        for place, pattern, ways in inventory.patterns
        for is_text in [isinstance(pattern.pattern, str)]
    ]
    return inventory._replace(patterns=patterns)._asdict()  # type: ignore[arg-type]


def from_json(data: dict[str, Any]) -> Inventory:
    patterns = [
        Compiled(place, re.compile(source if is_text else source.encode("latin-1"), flags), frozenset(ways))
        for place, source, is_text, flags, ways in data["patterns"]
    ]
    return Inventory(patterns, data["unknown"], data["stale"])


if __name__ == "__main__":
    print(json.dumps(as_json(take())))
