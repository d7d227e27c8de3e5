"""Stand-alone pixels with their log, and the keys of the JSON API."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "pixel",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False, unique=True),
        sa.Column("token", sa.String, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        *(
            sa.Column(f"opens_{verdict}", sa.Integer, nullable=False)
            for verdict in ("human", "proxied", "machine", "unknown")
        ),
    )
    op.create_table(
        "pixel_hit",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("pixel", sa.String, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("verdict", sa.String, nullable=False),
        sa.Column("reasons", sa.JSON, nullable=False),
        sa.Column("user_agent", sa.String, nullable=False),
        sa.Column("ip", sa.String, nullable=False),
    )
    op.create_index("pixel_hit_by_pixel", "pixel_hit", ["pixel", "id"])
    op.create_table(
        "api_key",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("digest", sa.String, nullable=False, unique=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
