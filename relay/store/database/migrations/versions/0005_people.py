"""Hits that belong to a message alone; consent, which takes up the wishes not to be tracked."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_HITS = (
    "opens_human",
    "opens_proxied",
    "opens_machine",
    "opens_unknown",
    "clicks_human",
    "clicks_machine",
    "clicks_unknown",
)


def upgrade() -> None:
    for name in _HITS:
        op.add_column("message", sa.Column(name, sa.Integer, nullable=False, server_default="0"))
    op.create_table(
        "consent",
        sa.Column("address", sa.String, primary_key=True),
        sa.Column("is_yes", sa.Boolean, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("source", sa.String, nullable=False),
    )
    op.execute(
        "INSERT INTO consent (address, is_yes, at, source) SELECT address, FALSE, asked_at, 'recipient' FROM untracked"
    )
    op.drop_table("untracked")
