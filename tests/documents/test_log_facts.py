"""docs/log-facts.md and the modules of the log name the same facts with the same fields."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_ROW = re.compile(r"\| `(?P<fact>[a-z-]+)` \| (?P<level>[a-z]+) \| (?P<fields>[^|]*) \| [^|]+ \|[^|]*\|")


def documented() -> list[tuple[str, frozenset[str]]]:
    rows = filter(None, map(_ROW.fullmatch, (ROOT / "docs/log-facts.md").read_text("utf-8").splitlines()))
    return [(row["fact"], frozenset(re.findall(r"`(\w+)`", row["fields"]))) for row in rows]


def logged() -> list[tuple[str, frozenset[str]]]:
    """Each public function's fact and fields. Fields that are only sometimes there stand in dict literals."""
    modules = [ast.parse((ROOT / "relay" / name).read_text("utf-8")) for name in ("log.py", "process_log.py")]
    nodes = [node for module in modules for node in module.body]
    return [_fact(node) for node in nodes if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]


def _fact(function: ast.FunctionDef) -> tuple[str, frozenset[str]]:
    writers = ("_write", "write_fault")
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    [call] = [call for call in calls if getattr(call.func, "id", getattr(call.func, "attr", "")) in writers]
    [fact] = [value.value for value in call.args if isinstance(value, ast.Constant)]
    optional = {
        key.value
        for literal in ast.walk(function)
        if isinstance(literal, ast.Dict)
        for key in literal.keys
        if isinstance(key, ast.Constant)
    }
    return str(fact), frozenset(str(name) for name in {word.arg for word in call.keywords if word.arg} | optional)


def test_every_fact_of_the_log_has_its_row_and_every_row_its_fact() -> None:
    assert set(documented()) == set(logged())


def test_every_function_of_the_log_has_its_row() -> None:
    assert len(documented()) == len(logged()) > 50
