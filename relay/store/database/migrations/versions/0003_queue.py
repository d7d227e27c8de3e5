"""The queue: turns between streams, deliveries that end processes, and what the reverse-path is owed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_PARTIAL = (
    ("delivery_due_by_stream", ["stream", "next_attempt_at"], sa.text("next_attempt_at IS NOT NULL")),
    ("delivery_crashed", ["crashes"], sa.text("crashes > 0")),
    ("delivery_owes", ["owes"], sa.text("owes != ''")),
)


def upgrade() -> None:
    for name in ("stream", "owes", "told"):
        op.add_column("delivery", sa.Column(name, sa.String, nullable=False, server_default=""))
    op.add_column("delivery", sa.Column("crashes", sa.Integer, nullable=False, server_default="0"))
    op.execute(
        "UPDATE delivery SET stream = (SELECT stream FROM message WHERE message.id = delivery.message)"
        " WHERE next_attempt_at IS NOT NULL"
    )
    for name, columns, few in _PARTIAL:
        op.create_index(name, "delivery", columns, sqlite_where=few, postgresql_where=few)
