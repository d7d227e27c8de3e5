"""Real mail and real HTML, wherever they are: our own templates, CPython's test data, and what packages ship.

In: folders.  Out: Documents. HTML comes from `.html` files, from html5lib's tree-construction tests, and from
the leaves of mail; mail is any other file that begins like a header section. Nothing of theirs is kept here.
"""

import codecs
import email
import os
import re
import sysconfig
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import NamedTuple

TEMPLATES = Path(__file__).parent / "templates"
CPYTHON = Path(sysconfig.get_path("stdlib"), "test", "test_email", "data")
# Where `make corpora` unpacks packages; any other folder of mail and HTML will do.
FETCHED = Path(os.environ.get("WAYPOST_CORPORA", Path(__file__).parents[2] / ".venv" / "corpora"))

_LARGEST = 2_000_000  # octets; html5lib takes a minute for more
_MAIL = re.compile(rb"(From [^\n]*\n)?[!-9;-~]+[ \t]*:[^\n]*\n")  # the first line is mbox's, not the mail's
_HEADER_FIELD = re.compile(rb"^(?:from|to|received|return-path|mime-version|content-type|subject)[ \t]*:", re.I | re.M)
_META = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]+)", re.IGNORECASE)
_TREE_TEST = re.compile(rb"^#data\r?\n(.*?)\r?\n#errors", re.DOTALL | re.MULTILINE)
_LINE_END = re.compile(rb"\r\n|\r|\n")
_SKIPPED = frozenset(
    {".py", ".pyc", ".js", ".mjs", ".cjs", ".ts", ".json", ".md", ".rst", ".po", ".toml", ".cfg", ".css"}
)


class Document(NamedTuple):
    """An HTML document or a whole mail, with lines that end in CRLF."""

    name: str
    octets: bytes
    charset: str  # of HTML; empty for mail

    @property
    def is_mail(self) -> bool:
        return not self.charset


def read(folder: Path) -> Iterator[Document]:
    """All documents below the folder, in an order that does not change, each text once."""
    seen: set[bytes] = set()
    for path in sorted(folder.rglob("*")):
        if path.suffix in _SKIPPED or not path.is_file() or path.stat().st_size > _LARGEST:
            continue
        for document in _in_file(path, str(path.relative_to(folder))):
            if document.octets not in seen:
                seen.add(document.octets)
                yield document


def leaves(octets: bytes) -> list[tuple[bytes, str]]:
    """The decoded HTML leaves of a mail and their charsets, as the standard library has them."""
    message: Message = email.message_from_bytes(octets)
    parts = (part for part in message.walk() if part.get_content_type() == "text/html")
    return [
        (payload, _known(part.get_content_charset() or "") or _charset(payload))
        for part in parts
        if isinstance(payload := part.get_payload(decode=True), bytes)
    ]


def sample(documents: list[Document], most: int) -> list[Document]:
    """So many of them, spread evenly: the same ones every time."""
    step = max(1, len(documents) / most)
    return [documents[int(n * step)] for n in range(min(most, len(documents)))]


def crlf(octets: bytes) -> bytes:
    """The octets with every line end made CRLF, as a client sends them."""
    return _LINE_END.sub(b"\r\n", octets)


def _in_file(path: Path, name: str) -> Iterator[Document]:
    octets = path.read_bytes()
    if path.suffix in (".html", ".htm", ".xhtml", ".hbs"):
        named = path.name.split(".")
        label = _known(named[-2]) if len(named) > 2 else ""  # `letter.shift_jis.html`
        yield Document(name, crlf(octets), label or _charset(octets))
    elif path.suffix == ".dat":
        for n, test in enumerate(_TREE_TEST.finditer(octets)):
            yield Document(f"{name}:{n}", crlf(test[1]), "utf-8")
    elif (found := _MAIL.match(octets)) and _HEADER_FIELD.search(octets):
        octets = crlf(octets[found.end(1) if found[1] else 0 :])
        yield Document(name, octets, "")
        for n, (html, charset) in enumerate(leaves(octets)):
            yield Document(f"{name}#{n}", crlf(html), charset)


def _charset(html: bytes) -> str:
    """What a sender would have written beside this HTML."""
    try:
        html.decode("utf-8")
    except UnicodeDecodeError:
        found = _META.search(html)
        label = _known(found[1].decode("ascii")) if found else ""
        return label if label and label != "utf-8" else "windows-1252"
    return "iso-2022-jp" if b"\x1b$" in html else "utf-8"


def _known(label: str) -> str:
    try:
        codecs.lookup(label)
        "".encode(label)  # not `hex` and its like
    except (LookupError, ValueError):
        return ""
    return label.lower()
