"""The states of upstreams as the mail processes report them, for other processes.

In: the state of each upstream, from each process, every few seconds.  Out: the states that are not too old.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from relay.store.database import console_tables

MAX_SILENCE = timedelta(minutes=1)  # then the process is gone
_table = console_tables.upstream_state


class ReportedState(NamedTuple):
    """An upstream, as one process sees it. `fault` says why it is down."""

    name: str
    down_since: datetime | None
    fault: str
    in_use: int
    idle: int
    waiting: int
    connected_at: datetime | None = None  # when it last opened a connection; None: it has opened none so far


class UpstreamSummary(NamedTuple):
    """An upstream, as all processes together see it. It is down where it is down for one of them."""

    name: str
    at: datetime  # when one of them last reported it
    down_since: datetime | None
    fault: str
    in_use: int
    idle: int
    waiting: int
    workers: int  # processes that speak of it
    workers_down: int  # of them, for which it is down
    connected_at: datetime | None = None  # when one of them last opened a connection; None: none has so far

    @property
    def is_untried(self) -> bool:
        """True if it is not known to be up or out: no connection was opened, and not many failed."""
        return self.connected_at is None and self.down_since is None and not self.connections

    @property
    def connections(self) -> int:
        return self.in_use + self.idle


class PeerReport(NamedTuple):
    """An upstream in the reports of all processes: who sends to it, and why and since when it is out for others."""

    workers: set[str]
    outages: list[tuple[str, datetime]]


def report_states(connection: sa.Connection, worker: str, states: Sequence[ReportedState], now: datetime) -> None:
    """Replaces the process's earlier report, and deletes those of processes that are gone."""
    old = sa.or_(_table.c.worker == worker, _table.c.at < now - MAX_SILENCE)
    connection.execute(sa.delete(_table).where(old))
    rows = [one._asdict() | {"worker": worker, "at": now, "fault": one.fault[:1000]} for one in states]
    if rows:
        connection.execute(sa.insert(_table), rows)


def read_peers(connection: sa.Connection, worker: str, now: datetime) -> dict[str, PeerReport]:
    """What all processes say of each upstream. Outages are those that the others have found."""
    wanted = sa.select(_table).where(_table.c.at >= now - MAX_SILENCE)
    found: dict[str, PeerReport] = {}
    for row in connection.execute(wanted).mappings():
        one = found.setdefault(row["name"], PeerReport(set(), []))
        one.workers.add(row["worker"])
        if row["down_since"] is not None and row["worker"] != worker:
            one.outages.append((row["fault"], row["down_since"]))
    return found


def read_states(connection: sa.Connection, now: datetime) -> dict[str, UpstreamSummary]:
    """The upstreams that a process has spoken of lately, by name."""
    wanted = sa.select(_table).where(_table.c.at >= now - MAX_SILENCE).order_by(_table.c.name, _table.c.down_since)
    found: dict[str, UpstreamSummary] = {}
    for row in connection.execute(wanted).mappings():
        one = found.get(row["name"]) or UpstreamSummary(row["name"], row["at"], None, "", 0, 0, 0, 0, 0)
        is_first_fault = one.down_since is None and row["down_since"] is not None
        found[one.name] = one._replace(
            at=max(one.at, row["at"]),
            down_since=row["down_since"] if is_first_fault else one.down_since,
            fault=row["fault"] if is_first_fault else one.fault,
            in_use=one.in_use + row["in_use"],
            idle=one.idle + row["idle"],
            waiting=one.waiting + row["waiting"],
            workers=one.workers + 1,
            workers_down=one.workers_down + (row["down_since"] is not None),
            connected_at=max(filter(None, (one.connected_at, row["connected_at"])), default=None),
        )
    return found
