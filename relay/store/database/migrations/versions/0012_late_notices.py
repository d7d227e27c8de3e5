"""Whether a message's reverse-path takes notices: asked again when a bounce comes back, its octets may be gone."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("message", sa.Column("takes_notices", sa.Boolean, nullable=False, server_default=sa.false()))
