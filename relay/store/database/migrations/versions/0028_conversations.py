"""An attempt that did not deliver keeps what was said."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    op.add_column("attempt", sa.Column("conversation", sa.Text, nullable=False, server_default=""))
