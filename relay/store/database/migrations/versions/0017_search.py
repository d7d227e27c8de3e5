"""What the API and the console list: labels, indexes, holds, upstreams' states and answers to repeated writes."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

_MAX_VALUE = 200  # characters, as `relay.store.message_labels` has it
_SQLITE_LABELS = (
    """INSERT OR IGNORE INTO message_label (name, value, message)
    SELECT 'tag', substr(lower(label.value), 1, :most), message.id FROM message, json_each(message.tags) AS label""",
    """INSERT OR IGNORE INTO message_label (name, value, message)
    SELECT substr('meta.' || lower(label.key), 1, :most), substr(lower(label.value), 1, :most), message.id
    FROM message, json_each(message.meta) AS label""",
)
_POSTGRESQL_LABELS = (
    """INSERT INTO message_label (name, value, message)
    SELECT 'tag', left(lower(label.value), :most), message.id
    FROM message, json_array_elements_text(message.tags) AS label(value) ON CONFLICT DO NOTHING""",
    """INSERT INTO message_label (name, value, message)
    SELECT left('meta.' || lower(label.key), :most), left(lower(label.value), :most), message.id
    FROM message, json_each_text(message.meta) AS label(key, value) ON CONFLICT DO NOTHING""",
)


def upgrade() -> None:
    op.add_column("delivery", sa.Column("held_at", sa.BigInteger))
    op.create_table(
        "message_label",
        *(sa.Column(name, sa.String, primary_key=True) for name in ("name", "value", "message")),
        sqlite_with_rowid=False,
    )
    op.create_index("message_label_by_message", "message_label", ["message"])
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in _SQLITE_LABELS if is_sqlite else _POSTGRESQL_LABELS:
        op.get_bind().execute(sa.text(statement), {"most": _MAX_VALUE})
    op.create_index("message_by_stream", "message", ["stream", "id"])
    failed = sa.text("status IN ('bounced', 'expired', 'suppressed')")
    op.create_index("delivery_failed", "delivery", ["status", "message"], sqlite_where=failed, postgresql_where=failed)
    op.drop_index("delivery_by_recipient", "delivery")
    op.create_index("delivery_by_recipient", "delivery", [sa.text("lower(recipient)"), "message"])
    click = sa.text("type = 'clicked'")
    op.create_index(
        "event_click_by_message",
        "event",
        ["message", "link", "verdict", "number"],
        sqlite_where=click,
        postgresql_where=click,
    )
    op.create_index("suppression_by_reason", "suppression", ["reason", "id"])
    op.create_table(
        "idempotent_answer",
        sa.Column("digest", sa.String, primary_key=True),
        sa.Column("request", sa.String, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("headers", sa.JSON, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("idempotent_answer_by_time", "idempotent_answer", ["at"])
    op.create_table(
        "upstream_state",
        sa.Column("worker", sa.String, primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("down_since", sa.BigInteger),
        sa.Column("fault", sa.String, nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("in_use", "idle", "waiting")),
    )
