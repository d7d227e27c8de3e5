"""Score the verdicts on labelled replies: `python tests/bounce/corpus/score.py [-v]`.

In: replies.tsv beside this file.  Out: for each set and over all, precision and recall of `hard` and the share
of categories that are right; with -v, every reply that is judged otherwise than its label.
"""

import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":  # run as a file: its own folder is on the path, the repository's is not
    sys.path.insert(0, str(Path(__file__).parents[3]))

from relay.bounce import classify, reply_lines
from relay.bounce.classify import Phase, Verdict


class Labelled(NamedTuple):
    """One line of the file."""

    set: str
    provenance: str
    kind: str
    category: str
    phase: Phase
    reply: str


class ReplyScore(NamedTuple):
    """Shares between 0 and 1 over `replies`, of which `hard` are labelled so; `wrong` has each misjudged one."""

    replies: int
    hard: int
    precision: float
    recall: float
    categories: float
    wrong: list[tuple[Labelled, Verdict]]


def load() -> list[Labelled]:
    lines = Path(__file__).with_name("replies.tsv").read_text(encoding="utf-8").splitlines()
    rows = (line.split("\t") for line in lines if not line.startswith("#"))
    return [
        Labelled(of, source, kind, category, Phase(phase), reply) for of, source, kind, category, phase, reply in rows
    ]


def judge(one: Labelled) -> Verdict:
    phase, reply = reply_lines.parse_reply_line(one.reply, one.phase)
    return classify.classify_reply(reply, phase)


def score(replies: Iterable[Labelled]) -> ReplyScore:
    judged = [(one, judge(one)) for one in replies]
    said = [one for one, verdict in judged if verdict.kind == "hard"]
    hard = [one for one, _ in judged if one.kind == "hard"]
    both = sum(one.kind == "hard" for one in said)
    right = sum(one.category == verdict.category for one, verdict in judged)
    return ReplyScore(
        replies=len(judged),
        hard=len(hard),
        precision=both / len(said) if said else 1.0,
        recall=both / len(hard) if hard else 1.0,
        categories=right / len(judged),
        wrong=[(one, v) for one, v in judged if (one.category, one.kind) != (v.category, v.kind)],
    )


def main() -> None:
    replies = load()
    sets: dict[str, list[Labelled]] = defaultdict(list)
    for one in replies:
        sets[one.set].append(one)
    print(f"{'set':12}{'replies':>8}{'hard':>6}{'precision':>11}{'recall':>8}{'categories':>12}")
    for name, of in [*sets.items(), ("all", replies)]:
        got = score(of)
        print(f"{name:12}{got.replies:8}{got.hard:6}{got.precision:11.3f}{got.recall:8.3f}{got.categories:12.3f}")
    if "-v" in sys.argv:
        for one, verdict in score(replies).wrong:
            print(f"{one.set}: {one.category}, not {verdict.category} ({verdict.rule}): {one.reply}")


if __name__ == "__main__":
    main()
