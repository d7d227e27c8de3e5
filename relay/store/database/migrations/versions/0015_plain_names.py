"""Tables, columns and indexes with the words of docs/glossary.md."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

_TABLES = (("heard", "processed_provider_event"), ("strike", "soft_failure"), ("outbox", "webhook_queue"))
_COLUMNS = (
    ("message", "takes_notices", "accepts_dsn"),
    ("delivery", "owes", "dsn_due"),
    ("delivery", "told", "dsn_sent"),
    ("delivery", "asides", "observations"),
)
_INDEXES = (
    ("outbox_by_message", "webhook_queue_by_message", ["webhook", "message", "id"]),
    ("outbox_due", "webhook_queue_due", ["webhook", "next_attempt_at"]),
    ("outbox_message", "webhook_queue_message", ["message"]),
)


def upgrade() -> None:
    for old, new in _TABLES:
        op.rename_table(old, new)
    # Both databases rename a column in place. Alembic's batch mode for SQLite would copy the table.
    for table, old, new in _COLUMNS:
        op.execute(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}")
    op.drop_index("delivery_owes", "delivery")
    few = sa.text("dsn_due != ''")
    op.create_index("delivery_dsn_due", "delivery", ["dsn_due"], sqlite_where=few, postgresql_where=few)
    for old, new, columns in _INDEXES:  # SQLite cannot rename an index
        op.drop_index(old, "webhook_queue")
        op.create_index(new, "webhook_queue", columns)
