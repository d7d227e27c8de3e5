"""Outcomes that cannot be stored as they are, for a fault of ours. The mail must not be sent a second time for that.

In: outcomes that `outcomes.record_outcomes` failed with.  Out: each is recorded by itself, without the upstream's
texts, the only parts that we did not make. If that fails too and the outcome is final, the delivery is parked.
"""

from collections.abc import Iterable

import sqlalchemy as sa

from relay import log
from relay.store.database import errors, savepoints
from relay.store.database.errors import NotStoredYetError
from relay.store.queue import leases, outcomes
from relay.store.queue.queue_facts import Outcome


def record_without_reply_text(
    connection: sa.Connection, message: str, unstorable: Iterable[Outcome], worker: str = ""
) -> None:
    """Records as much of the outcomes as can be stored. Raises MessageNotStoredError."""
    for outcome in unstorable:
        attempt = outcome.attempt._replace(text="", status="", conversation="") if outcome.attempt else None
        short = outcome._replace(attempt=attempt)
        try:
            with savepoints.savepoint(connection):
                outcomes.record_outcomes(connection, message, [short], worker)
        except NotStoredYetError:
            raise
        except Exception as error:
            if errors.is_database_fault(error):
                raise
            if not outcome.status.is_open:  # the others are tried again, as they would be
                leases.park_delivery(connection, leases.DeliveryKey(message, outcome.number))
                log.delivery_parked(message, outcome.number, leases.MAX_CRASHES)
