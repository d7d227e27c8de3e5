"""Real bounce mails with the addresses they name, which the source archive of flufl.bounce carries.

Half of them was left aside while the readers were written. At the first look: 67 of its 73 recipients, 5 that are none.
"""

import ast
from pathlib import Path
from typing import Any

import pytest

from relay.bounce import report
from tests.rewrite import corpora

FOLDER = corpora.FETCHED / "flufl.bounce"
# "zzzzz@shaft.coal.nl (expanded from: zzzzz@nfg.nl)": the package names the first, but the second one was mailed.
MAILED = {"sendmail_01.txt": {"zzzzz@nfg.nl"}}


def _labels(tests: Path) -> dict[str, tuple[set[str], str]]:
    """Each file's recipients and action, from the table in the package's own test; files outside of it name nobody."""
    tree = ast.parse((tests / "test_detectors.py").read_text("utf-8"))
    # Any: the table of a foreign test, checked by what is done with it.
    table: list[Any] = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "DETECTORS"
    )
    labels: dict[str, tuple[set[str], str]] = {path.name: (set(), "") for path in (tests / "data").glob("*.txt")}
    for _, name, recipients, is_temporary in table:
        # Several of its readers may speak on one mail; what any finds is there.
        labels[name][0].update(recipient.decode().lower() for recipient in recipients)
        labels[name] = labels[name][0], "delayed" if is_temporary else "failed"
    return {name: (MAILED.get(name, recipients), action) for name, (recipients, action) in labels.items()}


@pytest.mark.skipif(not FOLDER.is_dir(), reason="public bounce mails are not here: make bounces")
def test_the_recipients_of_public_bounce_mails_are_found() -> None:
    [tests] = (path.parent for path in FOLDER.rglob("test_detectors.py"))
    labels = _labels(tests)
    assert len(labels) > 100
    missed, invented, wrong, wanted = [], [], [], 0
    for name, (recipients, action) in sorted(labels.items()):
        got = {
            one.recipient.lower(): one for one in report.read_report((tests / "data" / name).read_bytes()).recipients
        }
        wanted += len(recipients)
        missed += [f"{name}: {address}" for address in recipients - got.keys()]
        invented += [f"{name}: {address}" for address in got.keys() - recipients]
        wrong += [f"{name}: {got[one].action}" for one in recipients & got.keys() if got[one].action != action]
    assert len(missed) <= 0.03 * wanted, missed
    assert len(invented) <= 0.04 * wanted, invented
    assert not wrong
