"""Score relay.bounce.report on labelled mails: recipients found, kinds of report, dead addresses, categories.

The mails in tests/bounce/corpus/reports are ours, written after what each system documents or is known to send; they
are what the readers were improved on, so the figures are a floor to keep and no measure of mails unseen. Those whose
names begin with `judge` are another hand's; before the readers had seen them, in two rounds: recipients 62 of 64 and
21 of 23, kinds 72 of 78 and 25 of 29, categories 49 of 49 and 17 of 19, some of it by labels that were wrong.

    python -m tests.bounce.corpus.score_reports
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from relay.bounce import classify, report
from relay.bounce.classify import BounceKind
from relay.bounce.recipient_report import RecipientReport

HERE = Path(__file__).parent
NONE = "-"  # a category in the table: nothing happened to the recipient


class Label(NamedTuple):
    """A recipient that a mail names, with what happened; an empty recipient for a mail that names none."""

    recipient: str
    action: str
    category: str


class Mail(NamedTuple):
    name: str
    report: str
    labels: tuple[Label, ...]
    read: report.Report


class ReportScore(NamedTuple):
    """Shares from 0 to 1. `wrong` says what was not as labelled, a line each."""

    mails: int
    recipients: int
    recall: float
    invented: float
    kind: float
    action: float
    hard_precision: float
    hard_recall: float
    category: float
    wrong: tuple[str, ...]


def mails() -> Iterator[Mail]:
    """The labelled mails, read."""
    labels: dict[tuple[str, str], list[Label]] = {}
    for line in (HERE / "reports.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        name, kind, recipient, action, category, _ = line.split("\t")
        labels.setdefault((name, kind), []).append(Label(recipient, action, category))
    for (name, kind), rows in labels.items():
        octets = (HERE / "reports" / f"{name}.eml").read_bytes()
        yield Mail(name, kind, tuple(row for row in rows if row.recipient), report.read_report(octets))


def score() -> ReportScore:
    wrong: list[str] = []
    kinds, wanted, found, invented, actions, categories = 0, 0, 0, 0, 0, 0
    count = said_hard = right_hard = is_hard = 0
    for mail in mails():
        count += 1
        kinds += mail.report == mail.read.kind
        if mail.report != mail.read.kind:
            wrong.append(f"{mail.name}: {mail.read.kind.value}, not {mail.report}")
        got = {one.recipient.lower(): one for one in mail.read.recipients}
        labelled = {label.recipient.lower() for label in mail.labels}
        invented += len(got.keys() - labelled)
        wrong += [f"{mail.name}: {address} is none of it" for address in got.keys() - labelled]
        said_hard += sum(one.verdict.kind is BounceKind.HARD for one in got.values())
        for label in mail.labels:
            wanted += 1
            hard = label.action == "failed" and classify.CATEGORIES[label.category].kind is BounceKind.HARD
            is_hard += hard
            one = got.get(label.recipient.lower())
            if not one:
                wrong.append(f"{mail.name}: {label.recipient} is not found")
                continue
            found += 1
            right_hard += hard and one.verdict.kind is BounceKind.HARD
            actions += one.action == label.action
            categories += _category(one) == label.category
            if (one.action, _category(one)) != (label.action, label.category):
                is_ = f"{one.action} {_category(one)} by {one.verdict.rule}"
                wrong.append(f"{mail.name}: {is_}, not {label.action} {label.category}: {one.text[:120]}")
    return ReportScore(
        mails=count,
        recipients=wanted,
        recall=found / wanted,
        invented=invented / wanted,
        kind=kinds / count,
        action=actions / found,
        hard_precision=right_hard / said_hard,
        hard_recall=right_hard / is_hard,
        category=categories / found,
        wrong=tuple(wrong),
    )


def _category(one: RecipientReport) -> str:
    if one.verdict.category == "complaint":
        return "complaint" if one.verdict.suppress else "complaint-no"
    return NONE if one.verdict.kind is BounceKind.NONE else one.verdict.category


def main() -> None:
    result = score()
    for line in result.wrong:
        print(line)
    print(f"{result.mails} mails, {result.recipients} recipients")
    for name in ("recall", "invented", "kind", "action", "hard_precision", "hard_recall", "category"):
        print(f"{name:15} {getattr(result, name):.3f}")


if __name__ == "__main__":
    main()
