"""What a key of the API may do, until when, and when it was used. Keys from before may do all."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("api_key", sa.Column("scopes", sa.JSON, nullable=False, server_default='["*"]'))
    op.add_column("api_key", sa.Column("expires_at", sa.BigInteger))
    op.add_column("api_key", sa.Column("used_at", sa.BigInteger))
