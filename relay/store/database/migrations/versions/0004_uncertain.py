"""Attempts that ended after the dot without a reply: the mail may have arrived."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("attempt", sa.Column("uncertain", sa.Boolean, nullable=False, server_default=sa.false()))
