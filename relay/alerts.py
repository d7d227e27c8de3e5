"""What needs an operator, and when an alert is sent: pure. `relay.node.alert_sender` looks and sends.

In: what is out, waits or is disabled now.  Out: problems; then, of the problems of each look, the notices that are due.
Each node looks at its own disk and at its way to the database; what all nodes share, one of them looks at for all.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

State = Literal["new", "lasts", "over"]
_MB = 1 << 20
_UPSTREAM = "upstream "


class Problem(NamedTuple):
    """What is wrong, and what to do about it, each in a sentence."""

    title: str
    text: str


class Notice(NamedTuple):
    """A message to the operator. `key` names the problem, the same at each look."""

    key: str
    state: State
    problem: Problem


class SentAlert(NamedTuple):
    """The last alert about a problem that is not over."""

    at: datetime
    problem: Problem


class NodeView(NamedTuple):
    """What a look at a node finds."""

    is_database_away: bool
    disk_free_octets: int


class SharedView(NamedTuple):
    """What a look at all nodes together finds."""

    upstreams_down: Collection[str]
    untried_for: timedelta  # age of the oldest mail that was not attempted yet
    webhooks_disabled: Collection[str]


def find_shared_problems(view: SharedView, queue_age: timedelta) -> dict[str, Problem]:
    """The problems of all nodes, each under its key."""
    found = {
        f"{_UPSTREAM}{name}": Problem(
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
    if view.untried_for >= queue_age:
        minutes = view.untried_for // timedelta(minutes=1)
        waited = f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
        title = f"Mail has waited for {waited} and was not attempted yet"
        found["queue age"] = Problem(title, "waypost queue list shows it.")
    return found


def is_of_upstream(key: str) -> bool:
    """True for a problem that a node knows of without the database."""
    return key.startswith(_UPSTREAM)


def find_node_problems(view: NodeView, min_disk_free: int) -> dict[str, Problem]:
    """The problems of one node, each under its key."""
    found = {}
    if view.is_database_away:
        found["database"] = Problem(
            "The database does not answer", "Inline mail and links go on; queued mail is refused for now (451)."
        )
    if view.disk_free_octets < min_disk_free:
        found["disk"] = Problem(
            f"The disk is nearly full: {view.disk_free_octets // _MB} MB are left",
            "Free some space, or keep less ([privacy] keep_content). With a full disk new mail is put off (451).",
        )
    return found


class AlertBook:
    """The problems of which the operator has been alerted. `sent`: those from before."""

    def __init__(self, repeat: timedelta, sent: Mapping[str, SentAlert] | None = None) -> None:
        self._repeat = repeat
        self._last_problems: dict[str, Problem] = {}  # at the last look
        self.sent = dict(sent or {})

    def find_due(
        self, problems: Mapping[str, Problem], now: datetime, was_looked_for: Callable[[str], bool] = lambda key: True
    ) -> list[Notice]:
        """The notices that are due: of problems that two looks in a row have found, that last, or that are over. A
        problem that was not looked for this time is neither."""
        due = [
            Notice(key, "lasts" if key in self.sent else "new", problem)
            for key, problem in problems.items()
            if (key in self._last_problems and key not in self.sent) or self._is_due_again(key, now)
        ]
        due += [
            Notice(key, "over", one.problem)
            for key, one in self.sent.items()
            if key not in problems and was_looked_for(key)
        ]
        self._last_problems = dict(problems)
        return due

    def mark_sent(self, notice: Notice, now: datetime) -> None:
        """The notice was sent. Without this call it is due again at the next look."""
        if notice.state == "over":
            self.sent.pop(notice.key, None)
        else:
            self.sent[notice.key] = SentAlert(now, notice.problem)

    def _is_due_again(self, key: str, now: datetime) -> bool:
        return key in self.sent and now - self.sent[key].at >= self._repeat
