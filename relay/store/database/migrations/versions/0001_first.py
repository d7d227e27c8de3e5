"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    time = sa.BigInteger
    op.create_table(
        "message",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("accepted_at", time, nullable=False),
        sa.Column("message_id", sa.String, nullable=False),
        sa.Column("author", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("reverse_path", sa.String, nullable=False),
        sa.Column("size_octets", sa.Integer, nullable=False),
        sa.Column("stream", sa.String, nullable=False),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("meta", sa.JSON, nullable=False),
        sa.Column("links", sa.JSON, nullable=False),
        sa.Column("reasons", sa.JSON, nullable=False),
        sa.Column("pixels", sa.Integer, nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("body", sa.String, nullable=False),
        sa.Column("smtputf8", sa.Boolean, nullable=False),
        sa.Column("ret", sa.String, nullable=False),
        sa.Column("envid", sa.String, nullable=False),
        sa.Column("client", sa.String, nullable=False),
        sa.Column("expires_at", time, nullable=False),
    )
    op.create_table(
        "content",
        sa.Column("message", sa.String, primary_key=True),
        sa.Column("octets", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "delivery",
        sa.Column("message", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("recipient", sa.String, nullable=False),
        sa.Column("notify", sa.String, nullable=False),
        sa.Column("orcpt", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("category", sa.String, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt_at", time),
        sa.Column("leased_by", sa.String, nullable=False),
        sa.Column("leased_until", time),
        sa.Column("settled_at", time),
        sa.Column("tracked", sa.Boolean, nullable=False),
        *(
            sa.Column(f"{what}_{verdict}", sa.Integer, nullable=False)
            for what, verdict in (
                ("opens", "human"),
                ("opens", "proxied"),
                ("opens", "machine"),
                ("opens", "unknown"),
                ("clicks", "human"),
                ("clicks", "machine"),
                ("clicks", "unknown"),
            )
        ),
        sa.Column("unsubscribed_at", time),
        sa.Column("complained_at", time),
    )
    is_due = sa.text("next_attempt_at IS NOT NULL")
    op.create_index("delivery_due", "delivery", ["next_attempt_at"], sqlite_where=is_due, postgresql_where=is_due)
    op.create_index("delivery_by_recipient", "delivery", ["recipient"])
    op.create_table(
        "attempt",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("message", sa.String, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("at", time, nullable=False),
        sa.Column("upstream", sa.String, nullable=False),
        sa.Column("phase", sa.String, nullable=False),
        sa.Column("code", sa.Integer, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("text", sa.String, nullable=False),
        sa.Column("took_ms", sa.Integer, nullable=False),
        sa.Column("rule", sa.String, nullable=False),
    )
    op.create_index("attempt_by_message", "attempt", ["message", "number"])
    op.create_table(
        "event",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("type", sa.String, nullable=False),
        sa.Column("at", time, nullable=False),
        sa.Column("message", sa.String, nullable=False),
        sa.Column("number", sa.Integer),
        sa.Column("recipient", sa.String, nullable=False),
        sa.Column("verdict", sa.String, nullable=False),
        sa.Column("reasons", sa.JSON, nullable=False),
        sa.Column("url", sa.String, nullable=False),
        sa.Column("user_agent", sa.String, nullable=False),
        sa.Column("ip", sa.String, nullable=False),
        sa.Column("detail", sa.String, nullable=False),
    )
    op.create_index("event_by_message", "event", ["message"])
    op.create_index("event_by_type", "event", ["type", "id"])
    op.create_table(
        "suppression",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("address", sa.String, nullable=False),
        sa.Column("scope", sa.String, nullable=False),
        sa.Column("stream", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("evidence", sa.String, nullable=False),
        sa.Column("message", sa.String, nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("expires_at", time),
    )
    op.create_index("suppression_address", "suppression", ["address", "scope", "stream"], unique=True)
    op.create_table(
        "untracked",
        sa.Column("address", sa.String, primary_key=True),
        sa.Column("asked_at", time, nullable=False),
    )
    op.create_table(
        "account",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("password_hash", sa.String, nullable=False),
        sa.Column("created_at", time, nullable=False),
    )
