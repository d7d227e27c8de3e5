"""A process reports when it last opened a connection to an upstream."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    op.add_column("upstream_state", sa.Column("connected_at", sa.BigInteger, nullable=True))
