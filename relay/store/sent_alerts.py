"""The alerts that were sent to the operator. The process that sends the next ones reads them first.

In: the problems of which an alert was sent, and when.  Out: the same.
"""

from collections.abc import Mapping

import sqlalchemy as sa

from relay.alerts import Problem, SentAlert
from relay.store.database import console_tables

_table = console_tables.sent_alert


def read_alerts(connection: sa.Connection) -> dict[str, SentAlert]:
    """The alerts that are not over, by problem."""
    rows = connection.execute(sa.select(_table)).mappings()
    return {row["problem"]: SentAlert(row["at"], Problem(row["title"], row["text"])) for row in rows}


def replace_alerts(connection: sa.Connection, alerts: Mapping[str, SentAlert]) -> None:
    """Stores these in place of all others."""
    connection.execute(sa.delete(_table))
    rows = [
        {"problem": key, "title": one.problem.title, "text": one.problem.text, "at": one.at}
        for key, one in alerts.items()
    ]
    if rows:
        connection.execute(sa.insert(_table), rows)
