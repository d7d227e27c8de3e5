"""What comes back later: when a delivery that bounced had been delivered, and what providers told us."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("delivery", sa.Column("delivered_at", sa.BigInteger))
    op.execute("UPDATE delivery SET delivered_at = settled_at WHERE status = 'delivered'")
    op.create_table(
        "heard",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    op.create_index("message_by_message_id", "message", ["message_id"])
