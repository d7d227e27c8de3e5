"""Verdicts that see all hits of a delivery: which link, the open that a click implies, what was seen beside."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("event", sa.Column("link", sa.Integer, nullable=False, server_default="0"))
    op.add_column("event", sa.Column("implies_open", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("delivery", sa.Column("opens_implied", sa.Integer, nullable=False, server_default="0"))
    op.add_column("delivery", sa.Column("asides", sa.JSON, nullable=False, server_default="[]"))
    op.drop_index("event_by_message", "event")
    op.create_index("event_by_message", "event", ["message", "number", "id"])
