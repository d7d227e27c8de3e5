"""Large octets lie in files."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    op.add_column("content", sa.Column("in_file", sa.Boolean, nullable=False, server_default=sa.false()))
