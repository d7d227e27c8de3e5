"""What an account of the console may do. Accounts from before may do all."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.add_column("account", sa.Column("role", sa.String, nullable=False, server_default="admin"))
