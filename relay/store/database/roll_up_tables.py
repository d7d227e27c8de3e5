"""The rows of roll-ups: counts of what happened in an hour or a day."""

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field

from relay.store.database.columns import BigId, Row, UtcTime, table_of


class RollUp(Row):
    """What happened in one hour, or one UTC day, of one stream.

    `dimension` "" counts all; "tag", "domain" and "link" count by `value`: a tag, the recipients' domain, or the URL of
    a link that was clicked, without addresses. By domain, all streams of apps are together. `detail` is the verdict of
    a hit, and the category of what was not delivered.
    """

    __tablename__ = "roll_up"
    period: str = Field(primary_key=True)  # hour | day
    dimension: str = Field(primary_key=True)  # "" | tag | domain | link
    start: datetime = Field(primary_key=True, sa_type=UtcTime)
    stream: str = Field(primary_key=True)
    value: str = Field(primary_key=True)
    type: str = Field(primary_key=True)
    detail: str = Field(primary_key=True)
    count: int = Field(sa_type=sa.BigInteger)
    uniques: int = Field(
        sa_type=sa.BigInteger
    )  # of count: the first open, or click, of its delivery (and its link) by a person


class RollUpChange(Row):
    """What one commit adds to an hour. It counts at once, and is folded into the roll-ups later: writers that shared
    a row would wait for each other."""

    __tablename__ = "roll_up_change"
    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    dimension: str
    start: datetime = Field(sa_type=UtcTime)  # of the hour
    stream: str
    value: str
    type: str
    detail: str
    count: int
    uniques: int


roll_up = table_of(RollUp, sqlite_with_rowid=False)
roll_up_change = table_of(RollUpChange)
