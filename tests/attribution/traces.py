"""Reads labelled sequences, and scores the verdicts: `python -m tests.attribution.traces` prints precision and recall.

In: sequences of hits with who made each.  Out: for people (with proxied) and machines, how many of those that we
say are such are, and how many of those that are we find. `FIRST` grew with the rules; `SECOND` was written by somebody
who had not read them.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from relay.attribution import delivery_verdict, request_verdict

DELIVERED = datetime(2026, 3, 2, 9, tzinfo=UTC)
_LINE = re.compile(r"\s*(\S+)\s+(open|click|head|page|many)(?: (\d+))?( prefetch)?\s+(\w+)\s+(\S+)\s+(\S+)")
PEOPLE = ("human", "proxied")
FIRST, SECOND = "traces.txt", "traces_blind.txt"


class Step(NamedTuple):
    """One line of a sequence."""

    at: datetime
    kind: str
    link: str
    is_ahead: bool
    agent: str
    address: str
    expected: str

    @property
    def is_hit(self) -> bool:
        return self.kind in ("open", "click")


class Trace(NamedTuple):
    """One delivery."""

    group: str
    title: str
    steps: list[Step]


class VisitorScore(NamedTuple):
    """Of one kind of visitor."""

    precision: float
    recall: float


def read(name: str = FIRST) -> list[Trace]:
    """All sequences, in the file's order."""
    names: dict[str, str] = {}
    traces: list[Trace] = []
    for line in Path(__file__).with_name(name).read_text("utf-8").splitlines():
        if line.startswith("@"):
            _, agent_name, *agent = line.split(maxsplit=2)
            names[agent_name] = agent[0] if agent else ""
        elif line.startswith("="):
            group, _, title = line[1:].partition(":")
            traces.append(Trace(group.strip(), title.strip(), []))
        elif line and not line.startswith("#"):
            found = _LINE.fullmatch(line)
            assert found, line
            second, what, link, ahead, agent_name, address, who = found.groups()
            at = DELIVERED + timedelta(seconds=float(second))
            traces[-1].steps.append(Step(at, what, link or "", bool(ahead), names[agent_name], address, who))
    return traces


def hits(trace: Trace) -> list[delivery_verdict.HitEvidence]:
    return [
        delivery_verdict.HitEvidence(step.at, step.kind == "click", step.link, step.agent, step.address, alone(step))
        for step in trace.steps
        if step.is_hit
    ]


def alone(step: Step) -> request_verdict.HitVerdict:
    headers = {"sec-purpose": "prefetch"} if step.is_ahead else {}
    return request_verdict.judge_request(step.agent, headers, step.address, is_click=step.kind == "click")


def observations(trace: Trace) -> list[delivery_verdict.SideObservation]:
    return [
        delivery_verdict.SideObservation(step.at, step.kind, step.agent, step.address)
        for step in trace.steps
        if not step.is_hit
    ]


def judged(name: str = FIRST) -> Iterator[tuple[Trace, Step, request_verdict.HitVerdict]]:
    """Every hit with its verdict in the end."""
    for trace in read(name):
        found = delivery_verdict.judge_delivery(hits(trace), observations(trace), DELIVERED)
        steps = [step for step in trace.steps if step.is_hit]
        for step, verdict in zip(steps, found.verdicts, strict=True):
            yield trace, step, verdict


def score(name: str = FIRST) -> dict[str, VisitorScore]:
    """Of `people` and of `machine`."""
    pairs = [
        ("people" if step.expected in ("person", "proxied") else "machine", verdict)
        for _, step, verdict in judged(name)
        if step.expected != "-"
    ]
    scores = {}
    for kind, verdicts in (("people", PEOPLE), ("machine", ("machine",))):
        said = [who for who, verdict in pairs if verdict.verdict in verdicts]
        right = said.count(kind)
        scores[kind] = VisitorScore(right / len(said), right / sum(who == kind for who, _ in pairs))
    return scores


def main() -> None:
    """Prints what is wrong, then the scores, for each set."""
    for name in (FIRST, SECOND):
        for trace, step, verdict in judged(name):
            expected = ("machine",) if step.expected == "machine" else PEOPLE
            if step.expected != "-" and verdict.verdict not in expected:
                second = (step.at - DELIVERED).total_seconds()
                print(f"{trace.group}: {trace.title}: {second:g} s {step.kind} is {step.expected}, not {verdict}")
        print(f"{name}: {len(read(name))} sequences, {sum(1 for _ in judged(name))} hits")
        for kind, found in score(name).items():
            print(f"{kind:<8} precision {found.precision:.3f}  recall {found.recall:.3f}")


if __name__ == "__main__":
    main()
