"""Words that messages are found by. Those of the messages that are there are stored once the server runs."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    by_code_points = sa.String().with_variant(sa.String(collation="C"), "postgresql")
    op.create_table(
        "message_word",
        sa.Column("word", by_code_points, primary_key=True),
        sa.Column("message", sa.String, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_table("message_word_due", sa.Column("message", sa.String, primary_key=True), sqlite_with_rowid=False)
    op.execute("INSERT INTO message_word_due (message) SELECT id FROM message")
