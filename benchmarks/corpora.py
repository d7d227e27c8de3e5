"""How mail comes through relay.rewrite, measured on all the real mail and HTML that can be had.

Fetches what packages ship into .venv/corpora, unless it is there (or $WAYPOST_CORPORA names another folder); adds our
templates and CPython's test mail; sends each document through in every transfer encoding; prints the figures.

    make corpora

With names of packages it only fetches those: flufl.bounce has real bounce mails, which tests/bounce reads.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.rewrite import corpora, document_check
from tests.rewrite.document_check import DocumentOutcome

# Source archives, for wheels leave their tests out. The first two are tests of HTML parsers, hostile throughout.
SOURCES = (
    "html5lib==1.1",
    "justhtml==3.16.0",
    "django-mailbox==4.10.1",
    "flufl.bounce==6.0.0",
    "html2text==2025.4.15",
    "inscriptis==2.7.6",
    "mail-parser==4.8.0",
    "mjml==0.12.0",
    "newspaper4k==0.9.6",
    "talon==1.4.4",
)
WHEELS = ("hyperkitty==1.3.12", "mailman==3.3.10")
NPM = ("foundation-emails@2.5.1", "mailgen@2.0.36", "planer@1.2.0")
HOSTILE = ("html5lib", "justhtml")
LIMITS = {"html5lib": "setuptools<70\n"}  # its build script wants what setuptools has since dropped


def fetch(folder: Path, only: list[str]) -> None:
    """Unpack each package, or only those, into a folder of its own; what cannot be had is left out, with a line."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download", "--no-deps"]
    for package in (*SOURCES, *WHEELS):
        name = package.partition("==")[0]
        if only and name not in only:
            continue
        kind = "--no-binary" if package in SOURCES else "--only-binary"
        _fetch(folder / name, [*pip, kind, name, package], LIMITS.get(name, ""))
    for package in () if only else NPM:
        _fetch(folder / package.partition("@")[0], ["npm", "pack", "--silent", package], "")


def _fetch(target: Path, command: list[str], limit: str) -> None:
    if target.exists():
        return
    with tempfile.TemporaryDirectory() as place, tempfile.NamedTemporaryFile("w") as limits:
        limits.write(limit)
        limits.flush()
        scratch = Path(place)
        variables = os.environ | {"PIP_CONSTRAINT": limits.name}
        try:
            subprocess.run(command, cwd=scratch, env=variables, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"{target.name} cannot be fetched and is left out: {error}")
            return
        for archive in scratch.iterdir():
            _unpack(archive, target.with_name(f"{target.name}.new"))
    target.with_name(f"{target.name}.new").rename(target)


def _unpack(archive: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(target)
    else:
        with tarfile.open(archive) as tar:
            tar.extractall(target, filter="data")


def outcomes(folders: list[Path]) -> Iterator[tuple[str, DocumentOutcome]]:
    """Every document's outcome, with the name of its folder."""
    with ProcessPoolExecutor() as pool:
        for folder in folders:
            for outcome in pool.map(document_check.run, corpora.read(folder), chunksize=20):
                yield folder.name, outcome


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "–"


def report(title: str, outcomes: list[DocumentOutcome]) -> None:
    edited = [outcome for outcome in outcomes if not outcome.is_untouched]
    verdicts = [outcome.verdict for outcome in edited]
    links, hits = sum(v.links for v in verdicts), sum(v.accounted_for for v in verdicts)
    hidden, hidden_hits = sum(v.conditional for v in verdicts), sum(v.conditional_found for v in verdicts)
    claimed, right = sum(v.claimed for v in verdicts), sum(v.right for v in verdicts)
    whys = Counter(reason for outcome in outcomes if outcome.is_untouched for reason in outcome.reasons)
    mails = sum(outcome.document.is_mail for outcome in outcomes)
    print(f"\n{title}: {len(outcomes)} documents tried, {mails} whole mails and {len(outcomes) - mails} HTML")
    print(f"  every octet outside the edits kept: {_share(sum(o.is_kept for o in outcomes), len(outcomes))}")
    print(f"  same document to both parsers: {_share(sum(not v.differences for v in verdicts), len(edited))}")
    print(f"  links {links}, recall {_share(hits, links)}; tracked {claimed}, precision {_share(right, claimed)}")
    print(f"  links in conditional comments {hidden}, recall {_share(hidden_hits, hidden)}")
    print(f"  untouched: {len(outcomes) - len(edited)}, with {sum(o.passed for o in outcomes)} links in them", end="; ")
    print(", ".join(f"{reason} {count}" for reason, count in whys.most_common()) or "none")


def main() -> int:
    corpora.FETCHED.mkdir(parents=True, exist_ok=True)
    if "WAYPOST_CORPORA" not in os.environ:
        fetch(corpora.FETCHED, sys.argv[1:])
    if len(sys.argv) > 1:
        return 0
    folders = [corpora.TEMPLATES, corpora.CPYTHON, *sorted(path for path in corpora.FETCHED.iterdir() if path.is_dir())]
    by_folder: dict[str, list[DocumentOutcome]] = {}
    for name, outcome in outcomes(folders):
        by_folder.setdefault(name, []).append(outcome)
        for complaint in outcome.complaints:
            print(f"{name}/{outcome.document.name}: {complaint}")
    everything = [outcome for found in by_folder.values() for outcome in found]
    for name, found in by_folder.items():
        print(f"{name}: {len(found)} documents, {sum(o.is_untouched for o in found)} untouched")
    hostile = [outcome for name in HOSTILE for outcome in by_folder.get(name, [])]
    report("Real mail and HTML", [outcome for outcome in everything if outcome not in hostile])
    report("Tests of HTML parsers", hostile)
    report("All", everything)
    return any(outcome.complaints for outcome in everything)


if __name__ == "__main__":
    sys.exit(main())
