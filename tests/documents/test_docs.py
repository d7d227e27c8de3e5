"""The documents say what is there: their links, their anchors, the files that they name, the table of floors.

A comment cites a document of this repository by its path and heading, or none.
"""

import ast
import io
import os
import re
import shutil
import subprocess
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.cli import command_table
from tests.documents import config_reference, man_page
from tests.documents.pages import PAGES
from tests.floors import FLOORS

ROOT = Path(__file__).parents[2]
_FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
_CITED = re.compile(r"\bdocs/[\w/-]+(?:\.\w+)+(?:#[\w-]*)?")
# Pages and numbered rules that were never in this repository, and a page that was replaced.
_NOT_HERE = re.compile(r"\bDESIGN\b|\bINTERFACE\b|\bSTYLE(?:\.md)?\b|\bR(?:[1-9]|10)\b|\bdesign\.md\b")
_FILE = re.compile(r"`((?:relay|web|tests|benchmarks|docs)/[\w./-]+)`")


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _without_code(page: Path) -> str:
    return _FENCED.sub("", page.read_text("utf-8"))


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in _HEADING.findall(_without_code(page)):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def _fault(target: Path, anchor: str) -> str:
    """Why the link leads nowhere; "" if it leads somewhere."""
    if not target.exists():
        return "there is no such file"
    return f"there is no heading #{anchor}" if anchor and anchor not in _anchors(target) else ""


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_relative_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in _LINK.findall(_without_code(page)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        assert not _fault(page.parent / name if name else page, anchor), f"{_name(page)}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    if page.name == "CHANGELOG.md":  # it tells of files that have gone
        return
    for name in _FILE.findall(_without_code(page)):
        assert (ROOT / name).exists(), f"{_name(page)} names {name}"


def _sources() -> Iterator[Path]:
    for top in ("relay", "web", "tests", "benchmarks"):
        for path in sorted((ROOT / top).rglob("*")):
            if path.suffix in (".py", ".toml", ".html", ".txt") and "corpus" not in path.parts:
                yield path
    yield from (ROOT / name for name in ("config.toml", "Makefile", "pyproject.toml"))


def test_every_document_that_the_source_cites_is_there() -> None:
    for path in _sources():
        for cited in re.findall(r"(?<![\w/.])" + _CITED.pattern, path.read_text("utf-8", "replace")):
            name, _, anchor = cited.partition("#")
            assert not _fault(ROOT / name, anchor), f"{_name(path)} cites {cited}"


def test_the_page_of_keys_is_what_the_models_say() -> None:
    remedy = "python -m tests.documents.config_reference   writes it anew"
    assert config_reference.PAGE.read_text("utf-8") == config_reference.make_page(), remedy


def test_the_manual_page_is_what_the_commands_say_and_man_can_show_it() -> None:
    remedy = "python -m tests.documents.man_page   writes it anew"
    assert man_page.PAGE.read_text("utf-8") == man_page.make_page(), remedy
    if shutil.which("man") is None:
        pytest.skip("no man here: apt-get install man-db")
    done = subprocess.run(
        ["man", "--warnings", "--local-file", man_page.PAGE],
        env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"\n   waypost {name}" in done.stdout for name in command_table.COMMANDS)
    assert "waypost queue drop 06gvq2rnm5t2k7i09b50 --notify\n" in done.stdout


def test_the_table_of_floors_is_the_one_that_holds() -> None:
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    table = re.findall(r"^\| `([\w.]+)` \| (\d+) \|$", text, re.MULTILINE)
    assert [(name, int(floor)) for name, floor in table] == [*FLOORS.items()]


def _prose(path: Path) -> Iterator[tuple[int, str]]:
    """The comments and docstrings of a module, each with its line."""
    source = path.read_text("utf-8")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield getattr(node, "lineno", 1), ast.get_docstring(node) or ""


@pytest.mark.parametrize("top", ["relay", "web", "tests", "benchmarks"])
def test_no_comment_cites_what_a_clone_does_not_have(top: str) -> None:
    for path in sorted((ROOT / top).rglob("*.py")):
        for line, text in _prose(path):
            found = _NOT_HERE.search(text)
            assert not found or path == Path(__file__), f"{_name(path)}:{line} cites {found and found[0]}"
