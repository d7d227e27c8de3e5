"""Stored facts of the queue, as values: a new message, and how attempts at its deliveries ended.

`deliveries` and `outcomes` store them, `redaction` makes of them what `[privacy] mode` allows to store.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator
from sqlmodel import SQLModel

from relay.store.database.rows import Delivery, Message
from relay.store.database.tables import Status
from relay.store.queue.long_urls import LongUrlRows


class AttemptRecord(NamedTuple):
    """An attempt as it went. Code 0: the upstream gave no reply; `text` then says what happened."""

    upstream: str
    phase: str
    code: int
    status: str
    text: str
    took_ms: int
    uncertain: bool = False  # all was sent and no reply came: it may have arrived
    conversation: str = ""  # `relay.conversation`; empty where the mail was delivered


class Outcome(NamedTuple):
    """How one step of a delivery ended. `id` is that of its event, so that recording it twice changes nothing."""

    id: str
    number: int
    recipient: str
    status: Status
    at: datetime
    kind: str = ""
    category: str = ""
    rule: str = ""
    attempt: AttemptRecord | None = None
    counts_as_attempt: bool = True  # False: the upstream was down, which says nothing of the delivery
    next_attempt_at: datetime | None = None
    suppress: bool = False
    tracked: bool = True
    dsn_due: str = ""  # the DSN that it asks for: failed | delayed | relayed
    is_soft_failure: bool = False  # a soft failure that is hard if it comes again (`repeated_failures`)
    nothing_tried: bool = False  # for a reason that is recorded already: one event, however long it lasts


class OutcomesFact(NamedTuple):
    """How attempts at one message ended, as a fact."""

    message: str
    outcomes: list[Outcome]
    worker: str = ""  # that held the leases


# Columns by the names that they had before revision 0015. The journal of an earlier version has its rows under these.
_EARLIER_NAMES = {
    "takes_notices": "accepts_dsn",
    "owes": "dsn_due",
    "told": "dsn_sent",
    "asides": "observations",
}


def _validator(row: type[SQLModel]) -> Callable[[Any], Any]:  # Any: pydantic gives a row or a mapping
    def validate(value: Any) -> Any:
        # SQLModel does not validate a row that it makes; one that comes back from the journal must be.
        if isinstance(value, row):
            return value
        return row.model_validate({_EARLIER_NAMES.get(name, name): column for name, column in value.items()})

    return validate


class NewMessage(NamedTuple):
    """A message and all that is known of it when it is stored."""

    message: Annotated[Message, BeforeValidator(_validator(Message))]
    octets: bytes | None
    deliveries: list[Annotated[Delivery, BeforeValidator(_validator(Delivery))]]
    outcomes: list[Outcome]
    destinations: LongUrlRows = ()  # as `LongUrlFiles.save` returned them
    in_file: bool = False  # its octets lie in a file already (`content_files`), and are not here
