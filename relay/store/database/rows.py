"""Messages and deliveries as objects, which are made, changed and handed on as a whole; a field is named as its
column.

In: values, or a row as the database or the journal has it.  Out: an object, and the values of a Core statement. What
only reads the tables does not load this: SQLModel takes a command 0.06 s.
"""

from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlmodel import Field, SQLModel
from sqlmodel._compat import SQLModelConfig

from relay.store.database.tables import Status


class Row(SQLModel):
    """A row of a table, made as fast as a dictionary and read as fast as any object.

    With `table=True` SQLModel would map it for SQLAlchemy's sessions, which nothing here uses: then a row takes 0.3 ms,
    and each reading of a value is a call.
    """

    model_config = SQLModelConfig(defer_build=True)  # what the journal reads is validated, and nothing else is

    if not TYPE_CHECKING:  # whose arguments are the fields, as SQLModel says

        def __init__(self, **values: Any) -> None:  # Any: a row's values
            defaults, factories = _defaults(type(self))
            known = self.__dict__
            known.update(defaults)
            for name, factory in factories:
                known[name] = factory()
            known.update(values)


@cache
def _defaults(row: type[Row]) -> tuple[dict[str, Any], list[tuple[str, Any]]]:  # Any: of any column
    """The default of each column, None where it has to be given; and the default factories."""
    fields = row.model_fields.items()
    defaults = {name: None if field.is_required() or field.default_factory else field.default for name, field in fields}
    return defaults, [(name, field.default_factory) for name, field in fields if field.default_factory]


def row_values(row: SQLModel, *, left_out: frozenset[str] = frozenset()) -> dict[str, Any]:  # Any: a row's values
    """A row as the values of a Core statement."""
    if not left_out:
        return row.__dict__.copy()
    return {name: value for name, value in row.__dict__.items() if name not in left_out}


class Message(Row):
    """Accepted once, with what its retries need: the envelope's parameters and the plan of edits."""

    id: str
    accepted_at: datetime
    message_id: str = ""  # the header field, without angle brackets
    author: str = ""
    subject: str = ""
    reverse_path: str = ""
    accepts_dsn: bool = False  # as far as the mail itself shows: neither bulk nor automatic, with a reverse-path
    size_octets: int = 0
    stream: str = ""
    tags: list[str] = Field(default_factory=list)
    meta: dict[str, str] = Field(default_factory=dict)
    links: list[dict[str, Any]] = Field(default_factory=list)  # Any: number and texts
    reasons: list[str] = Field(default_factory=list)
    pixels: int = 0
    plan: str = ""
    body: str = ""
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""
    client: str = ""
    login: str = ""  # the user whose own credentials its attempts use upstream; "" is the upstream's configured ones
    expires_at: datetime
    # Hits that are counted for the message and for no single delivery (`[privacy] mode = "aggregate"`).
    opens_human: int = 0
    opens_proxied: int = 0
    opens_machine: int = 0
    opens_unknown: int = 0
    clicks_human: int = 0
    clicks_machine: int = 0
    clicks_unknown: int = 0


class Delivery(Row):
    """Message × recipient: the unit of the queue. Counters move with the event that moves them."""

    message: str
    number: int
    recipient: str
    notify: str = ""
    orcpt: str = ""
    status: str = Status.QUEUED
    kind: str = ""
    category: str = ""
    attempts: int = 0
    next_attempt_at: datetime | None = None
    leased_by: str = ""
    leased_until: datetime | None = None
    stream: str = ""  # its message's: what is due is taken in turns
    crashes: int = 0  # processes that died attempting it, since it was last settled
    held_at: datetime | None = None  # since when an operator holds it back
    dsn_due: str = ""  # the DSN that is still to be sent: failed | delayed | relayed
    dsn_sent: str = ""  # the last one, in the same words
    settled_at: datetime | None = None
    delivered_at: datetime | None = None  # stays when a bounce comes back later
    tracked: bool = True
    opens_human: int = 0
    opens_proxied: int = 0
    opens_machine: int = 0
    opens_unknown: int = 0
    opens_implied: int = 0  # of opens_human: not seen, but a person clicked
    clicks_human: int = 0
    clicks_machine: int = 0
    clicks_unknown: int = 0
    observations: list[Any] = Field(default_factory=list)  # Any: what relay.store.tracking.verdicts notes
    unsubscribed_at: datetime | None = None
    complained_at: datetime | None = None
