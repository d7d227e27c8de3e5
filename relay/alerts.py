"""What needs an operator, and when an alert is sent: pure. `relay.node.alert_sender` looks and sends.

In: what is out, waits or is disabled now.  Out: problems; then, of the problems of each look, the notices that are due.
"""

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Literal, NamedTuple

State = Literal["new", "lasts", "over"]
_MB = 1 << 20


class Problem(NamedTuple):
    """What is wrong, and what to do about it, each in a sentence."""

    title: str
    text: str


class Notice(NamedTuple):
    """A message to the operator. `key` names the problem, the same at each look."""

    key: str
    state: State
    problem: Problem


class NodeView(NamedTuple):
    """What a look finds."""

    upstreams_down: Collection[str]
    is_database_away: bool
    untried_for: timedelta  # age of the oldest mail that was not attempted yet
    webhooks_disabled: Collection[str]
    disk_free_octets: int


def find_problems(view: NodeView, queue_age: timedelta, min_disk_free: int) -> dict[str, Problem]:
    """The problems, each under its key."""
    found = {
        f"upstream {name}": Problem(
            f"Upstream {name} is out",
            "Its mail waits or goes to the next one. The log says why (upstream-out); waypost check --online tries it.",
        )
        for name in view.upstreams_down
    }
    found |= {
        f"webhook {key}": Problem(
            f"Webhook {key} is disabled",
            f"It got no events since. When it works again: waypost webhooks enable {key}",
        )
        for key in view.webhooks_disabled
    }
    if view.is_database_away:
        found["database"] = Problem(
            "The database does not answer", "Inline mail and links go on; queued mail is refused for now (451)."
        )
    if view.untried_for >= queue_age:
        minutes = view.untried_for // timedelta(minutes=1)
        waited = f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
        title = f"Mail has waited for {waited} and was not attempted yet"
        found["queue age"] = Problem(title, "waypost queue list shows it.")
    if view.disk_free_octets < min_disk_free:
        found["disk"] = Problem(
            f"The disk is nearly full: {view.disk_free_octets // _MB} MB are left",
            "Free some space, or keep less ([privacy] keep_content). With a full disk new mail is put off (451).",
        )
    return found


class AlertBook:
    """The problems of which the operator has been alerted."""

    def __init__(self, repeat_s: float) -> None:
        self._repeat_s = repeat_s
        self._seen: dict[str, Problem] = {}  # at the last look
        self._sent: dict[str, tuple[float, Problem]] = {}  # when, and what

    def find_due(self, problems: Mapping[str, Problem], now_s: float) -> list[Notice]:
        """The notices that are due: of problems that two looks in a row have found, that last, or that are over."""
        due = [
            Notice(key, "lasts" if key in self._sent else "new", problem)
            for key, problem in problems.items()
            if (key in self._seen and key not in self._sent) or self._is_due_again(key, now_s)
        ]
        due += [Notice(key, "over", problem) for key, (_, problem) in self._sent.items() if key not in problems]
        self._seen = dict(problems)
        return due

    def mark_sent(self, notice: Notice, now_s: float) -> None:
        """The notice was sent. Without this call it is due again at the next look."""
        if notice.state == "over":
            self._sent.pop(notice.key, None)
        else:
            self._sent[notice.key] = now_s, notice.problem

    def _is_due_again(self, key: str, now_s: float) -> bool:
        return key in self._sent and now_s - self._sent[key][0] >= self._repeat_s
