"""Accounts of an OpenID provider: `subject` is who they are there, empty for an account with a password."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.add_column("account", sa.Column("subject", sa.String, nullable=False, server_default=""))
