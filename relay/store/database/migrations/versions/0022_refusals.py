"""What clients were refused."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    by_code_points = sa.String().with_variant(sa.String(collation="C"), "postgresql")
    op.create_table(
        "refusal",
        sa.Column("id", by_code_points, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("ip", sa.String, nullable=False),
        sa.Column("user", sa.String, nullable=False),
        sa.Column("command", sa.String, nullable=False),
        sa.Column("reverse_path", sa.String, nullable=False),
        sa.Column("recipient", sa.String, nullable=False),
        sa.Column("code", sa.Integer, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("text", sa.String, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
    )
