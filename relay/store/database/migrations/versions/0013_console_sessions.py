"""Sessions of the console: who is signed in, until when, and with which browser."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "console_session",
        sa.Column("digest", sa.String, primary_key=True),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("user_agent", sa.String, nullable=False),
        sa.Column("ip", sa.String, nullable=False),
    )
