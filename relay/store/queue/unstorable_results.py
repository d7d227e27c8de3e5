"""Results of attempts that cannot be stored as they are: a second delivery is no answer to that.

In: outcomes that `queue.settle` has failed with, for a fault of ours.  Out: each by itself, without the upstream's
words, which are all that we did not write; or else, where somebody has the mail or nobody will, the delivery parked.
"""

from collections.abc import Iterable

import sqlalchemy as sa

from relay import log
from relay.store.database import errors
from relay.store.database.errors import NotStoredYetError
from relay.store.queue import deliveries, leases
from relay.store.queue.deliveries import Outcome


def record_without_reply_text(
    connection: sa.Connection, message: str, outcomes: Iterable[Outcome], worker: str = ""
) -> None:
    """Writes down how the attempts ended, as much of it as can be. Raises queue.NotFiled."""
    for outcome in outcomes:
        short = outcome._replace(attempt=outcome.attempt._replace(text="", status="") if outcome.attempt else None)
        try:
            with connection.begin_nested():
                deliveries.record_outcomes(connection, message, [short], worker)
        except NotStoredYetError:
            raise
        except Exception as error:
            if errors.is_database_fault(error):
                raise
            if not outcome.status.is_open:  # the others are tried again, as they would be
                leases.park_delivery(connection, leases.DeliveryKey(message, outcome.number))
                log.delivery_parked(message, outcome.number, leases.MAX_CRASHES)
