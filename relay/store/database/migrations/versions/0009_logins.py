"""Whose credentials a message is sent with; the credentials themselves are kept nowhere."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("message", sa.Column("login", sa.String, nullable=False, server_default=""))
