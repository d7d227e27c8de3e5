"""mkdocs' hooks: files of the repository that pages link to become part of the site, and links lead to them.

In the repository a page of docs/ links to `../config.toml`, and README.md to `docs/recipes.md`. In the site README.md
is `index.md` beside the pages of docs/, and everything else has its path in the repository.
"""

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_ROOT = Path(__file__).parent
_DOCS = _ROOT / "docs"
_LINK = re.compile(r"(?<=\]\()([^()\s:#]+)(?=[#)])")
_HOME = "index.md"


def _site_uri(path: Path) -> str:
    """Where a file of the repository is in the site."""
    if path == _ROOT / "README.md":
        return _HOME
    return path.relative_to(_DOCS if path.is_relative_to(_DOCS) else _ROOT).as_posix()


def _source(uri: str) -> Path:
    """The file of the repository that is there."""
    if uri == _HOME:
        return _ROOT / "README.md"
    return _DOCS / uri if (_DOCS / uri).exists() else _ROOT / uri


def _linked_from(path: Path) -> set[Path]:
    found = {(path.parent / name).resolve() for name in _LINK.findall(path.read_text("utf-8"))}
    return {one for one in found if one.is_file()}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds README.md, and what is linked from pages, to any depth."""
    waiting, seen = [_ROOT / "README.md", *sorted(_DOCS.glob("*.md"))], set[Path]()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        uri = _site_uri(path)
        if files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, abs_src_path=str(path)))
        if path.suffix == ".md":
            waiting += sorted(_linked_from(path))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links between files of the repository into links of the site."""
    source = _source(page.file.src_uri)
    here = Path(page.file.src_uri).parent

    def turn(found: re.Match[str]) -> str:
        target = (source.parent / found[1]).resolve()
        if not target.is_file() or files.get_file_from_path(_site_uri(target)) is None:
            return found[1]
        return os.path.relpath(_site_uri(target), here)

    return _widen_lists(_LINK.sub(turn, markdown))


def _widen_lists(markdown: str) -> str:
    """Python-Markdown wants what belongs to an item of a list four spaces in; CommonMark takes two, or three."""
    lines, add = [], ""
    for line in markdown.splitlines():
        if re.match(r"(\d+\.|-) ", line):
            add = "  " if line[0] == "-" else " "
        elif line and line[0] != " ":
            add = ""
        elif line:
            line = add + line
        lines.append(line)
    return "\n".join(lines) + "\n"
