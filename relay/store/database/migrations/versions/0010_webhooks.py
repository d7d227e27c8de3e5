"""Webhooks, what they are still to be told, and the log of what they were told."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "webhook",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("url", sa.String, nullable=False),
        sa.Column("events", sa.JSON, nullable=False),
        sa.Column("format", sa.String, nullable=False),
        sa.Column("machines", sa.Boolean, nullable=False),
        sa.Column("secret", sa.String, nullable=False),
        sa.Column("old_secret", sa.String, nullable=False),
        sa.Column("old_until", sa.BigInteger),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("failing_since", sa.BigInteger),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("webhook", sa.String, nullable=False),
        sa.Column("event", sa.String, nullable=False),
        sa.Column("message", sa.String, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("first_at", sa.BigInteger),
        sa.Column("next_attempt_at", sa.BigInteger, nullable=False),
        sa.Column("leased_by", sa.String, nullable=False),
        sa.Column("leased_until", sa.BigInteger),
        sqlite_autoincrement=True,  # what is told later never has an id that was told before
    )
    op.create_table(
        "webhook_log",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("webhook", sa.String, nullable=False),
        sa.Column("event", sa.String, nullable=False),
        sa.Column("type", sa.String, nullable=False),
        sa.Column("message", sa.String, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("code", sa.Integer, nullable=False),
        sa.Column("error", sa.String, nullable=False),
        sa.Column("took_ms", sa.Integer, nullable=False),
        sa.Column("next_attempt_at", sa.BigInteger),
        sa.Column("headers", sa.JSON, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("response", sa.Text, nullable=False),
    )
    op.create_index("outbox_by_message", "outbox", ["webhook", "message", "id"])
    op.create_index("outbox_due", "outbox", ["webhook", "next_attempt_at"])
    op.create_index("outbox_message", "outbox", ["message"])
    op.create_index("webhook_log_by_webhook", "webhook_log", ["webhook", "id"])
    op.create_index("webhook_log_by_message", "webhook_log", ["message"])
