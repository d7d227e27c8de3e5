"""A module imports only downwards, and siblings of a floor do not know each other (docs/architecture.md#floors)."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

from tests.floors import FLOORS, FORBIDDEN, WEB_EXCEPTIONS, WEB_PARTS

ROOT = Path(__file__).parents[1]
_ASKED_FOR = (
    *(ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef),
    *(ast.Attribute, ast.Name, ast.arg),
)


@cache
def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def _module(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def _room(module: str) -> str:
    parts = module.split(".")
    if parts[0] == "web":
        return "web"
    return ".".join(parts[:2])


@cache
def _nodes(path: Path) -> list[ast.AST]:
    """Those that a test here asks for, in the order of ast.walk."""
    return [node for node in ast.walk(_parse(path)) if isinstance(node, _ASKED_FOR)]


@cache
def _imports(path: Path) -> frozenset[str]:
    found: set[str] = set()
    for node in _nodes(path):
        if isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found.update({f"{node.module}.{name.name}" for name in node.names})
    return frozenset(name for name in found if name.split(".")[0] in ("relay", "web", "tests"))


MODULES = sorted(path for top in ("relay", "web") for path in (ROOT / top).rglob("*.py"))
TEST_MODULES = sorted(path for top in ("tests", "benchmarks") for path in (ROOT / top).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
_LIMIT_WITHOUT_MAX_OR_MIN = re.compile(r"_?(MOST|LONGEST|LEAST|LARGEST|DEEPEST|FARTHEST)_")


def test_a_module_imports_only_downwards() -> None:
    assert [fault for path in MODULES for fault in _upward_imports(path)] == []


def _upward_imports(path: Path) -> Iterator[str]:
    here = _room(_module(path))
    for imported in _imports(path):
        there = _room(imported)
        if there == here or there == "relay":
            continue
        if FLOORS.get(there, 0) > FLOORS.get(here, 0):
            yield f"{path}: {here} reaches up to {imported}"
        if FLOORS.get(here, 0) and FLOORS.get(there, 0) == FLOORS[here] and (here, there) != ("relay.node", "web"):
            yield f"{path}: {here} and {there} are siblings"
        if there in FORBIDDEN.get(here, ()):
            yield f"{path}: {here} may not know {there}"


def test_every_module_is_on_the_map_of_its_package() -> None:
    packages = [path for path in (*MODULES, *TEST_MODULES) if path.name == "__init__.py"]
    assert [fault for path in packages for fault in _missing_on_map(path)] == []


def _missing_on_map(path: Path) -> Iterator[str]:
    text = ast.get_docstring(_parse(path)) or ""
    for other in sorted(path.parent.iterdir()):
        if other.suffix == ".py" and other.stem != "__init__":
            if f"`{other.stem}`" not in text:
                yield f"{path} does not say what {other.stem} is"
        elif (other / "__init__.py").is_file() and not re.search(f"`{other.name}/?`", text):
            yield f"{path} does not say what {other.name}/ is"


def test_no_packages_import_each_other_in_a_circle() -> None:
    """A module that stands directly in relay, relay.store or web counts as a package of its own."""
    below: dict[str, set[str]] = defaultdict(set)
    for module, imported in _imports_by_module().items():
        here = _package(module, _path_of(module))
        below[here].update(_package(there, _path_of(there)) for there in imported)
        below[here].discard(here)
    order = list(TopologicalSorter(below).static_order())  # raises CycleError, which names the packages
    assert len(order) > 50


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports within functions count, and those below `if TYPE_CHECKING:`."""
    order = list(TopologicalSorter(_imports_by_module()).static_order())  # raises CycleError, which names the modules
    assert len(order) > 400


@cache
def _imports_by_module() -> dict[str, set[str]]:
    modules = {_module(path) for path in MODULES}
    found: dict[str, set[str]] = {}
    for path in MODULES:
        imported = {name if name in modules else name.rpartition(".")[0] for name in _imports(path)}
        found[_module(path)] = (imported & modules) - {_module(path)}
    return found


def _package(module: str, path: Path) -> str:
    above = module.rpartition(".")[0]
    return module if path.name == "__init__.py" or above in ("relay", "relay.store", "web") else above


def _path_of(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def test_the_parts_of_the_web_side_do_not_know_each_other() -> None:
    pairs = {
        (module, there)
        for module, imported in _imports_by_module().items()
        for there in imported
        if _room_of_web(module) != _room_of_web(there) and {_room_of_web(module), _room_of_web(there)} <= WEB_PARTS
    }
    assert pairs == WEB_EXCEPTIONS


def _room_of_web(module: str) -> str:
    return ".".join(module.split(".")[:2])


def test_no_module_imports_a_test_module_or_a_conftest() -> None:
    """What several of them need has a module of its own; fixtures of a conftest need no import."""
    for path in (*MODULES, *TESTS, *sorted((ROOT / "benchmarks").rglob("*.py"))):
        parts = {part for name in _imports(path) if name.startswith("tests.") for part in name.split(".")}
        assert not {part for part in parts if part == "conftest" or part.startswith("test_")}, path


def test_the_smtp_client_knows_nothing_of_the_delivery_around_it() -> None:
    for path in (ROOT / "relay/delivery/smtp").glob("*.py"):
        upwards = {name for name in _imports(path) if name.startswith("relay.delivery.")}
        assert all(name.startswith("relay.delivery.smtp.") for name in upwards), f"{path} reaches up to {upwards}"


def test_no_two_classes_have_one_name() -> None:
    places = defaultdict(list)
    for path in [*MODULES, *TEST_MODULES]:
        for node in _nodes(path):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(_module(path))
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


def test_no_module_of_the_tests_is_longer_than_320_lines() -> None:
    lines = {_module(path): len(path.read_text("utf-8").splitlines()) for path in TESTS}
    assert {module: count for module, count in lines.items() if count > 320} == {}


def _words_in(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words of docs/glossary.md#words-that-names-do-not-use: as a part of any name, and as the whole of one.
_UNUSED_WORDS = _words_in(
    "told tells telling said says heard hears owes owed owing filing filings sight sights freight veil dossier courier"
    " surgeon tiding tidings"
)
_BARE_WORDS = _UNUSED_WORDS | _words_in(
    "kept letter letters mine ours theirs this those its named wanted given shown made found what who which about"
    " wishes"
)


def test_names_do_not_use_words_that_mean_several_things() -> None:
    wrong = {
        f"{_module(path)}.{name}"
        for path in [*MODULES, *TEST_MODULES]
        if "migrations" not in path.parts
        for name in _names_seen_outside(path)
        if name.strip("_").lower() in _BARE_WORDS or _UNUSED_WORDS.intersection(_words_of(name))
    }
    assert not wrong


def _names_seen_outside(path: Path) -> Iterator[str]:
    """The names of functions (a test's is a sentence), classes, parameters, attributes and fields, and of variables of
    modules. A lambda's parameters, and the variables of a function, are its own."""
    yield from _names_of_variables(_parse(path).body)
    for node in _nodes(path):
        if isinstance(node, ast.ClassDef):
            yield node.name
            yield from _names_of_variables(node.body)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if not node.name.startswith("test_"):
                yield node.name
            yield from (one.arg for one in _parameters(node.args))
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def _names_of_variables(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            yield from (
                one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
            )


def _parameters(arguments: ast.arguments) -> list[ast.arg]:
    collected = [one for one in (arguments.vararg, arguments.kwarg) if one]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *collected]


def _words_of(name: str) -> list[str]:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().split("_")


def test_a_limit_begins_with_max_or_min() -> None:
    names = {
        f"{_module(path)}.{node.id}"
        for path in MODULES
        for node in _nodes(path)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and _LIMIT_WITHOUT_MAX_OR_MIN.match(node.id)
    }
    assert names == set()


def test_a_database_connection_is_called_connection() -> None:
    parameters = {
        f"{_module(path)}: {node.arg}"
        for path in MODULES
        for node in _nodes(path)
        if isinstance(node, ast.arg) and node.arg != "connection" and node.annotation
        if ast.unparse(node.annotation) == "sa.Connection"
    }
    assert parameters == set()
