"""The indexes of all tables, for migrations and for the test that compares them with the database.

Apart from the tables, because nothing else needs them: with conditions of PostgreSQL's they load its dialect, which
takes a command a tenth of its start.
"""

import sqlalchemy as sa

from relay.store.database import console_tables, roll_up_tables, tables, webhook_tables

sa.Index("destination_by_use", tables.destination.c.used_at)
sa.Index("message_by_stream", tables.message.c.stream, tables.message.c.id)
sa.Index("message_label_by_message", tables.message_label.c.message)
sa.Index(
    "delivery_failed",
    tables.delivery.c.status,
    tables.delivery.c.message,
    sqlite_where=tables.has_failed,
    postgresql_where=tables.has_failed,
)
sa.Index(
    "event_click_by_message",
    *(tables.event.c[name] for name in ("message", "link", "verdict", "number")),
    sqlite_where=tables.is_click,
    postgresql_where=tables.is_click,
)
sa.Index("event_by_message", tables.event.c.message, tables.event.c.number, tables.event.c.id)
sa.Index("event_by_type", tables.event.c.type, tables.event.c.id)
sa.Index("attempt_by_message", tables.attempt.c.message, tables.attempt.c.number)
# Only what is still to be delivered: the index stays small however much mail has gone through.
sa.Index(
    "delivery_due",
    tables.delivery.c.next_attempt_at,
    sqlite_where=tables.delivery.c.next_attempt_at.is_not(None),
    postgresql_where=tables.delivery.c.next_attempt_at.is_not(None),
)
sa.Index(
    "delivery_due_by_stream",
    tables.delivery.c.stream,
    tables.delivery.c.next_attempt_at,
    sqlite_where=tables.delivery.c.next_attempt_at.is_not(None),
    postgresql_where=tables.delivery.c.next_attempt_at.is_not(None),
)
sa.Index(
    "delivery_crashed", tables.delivery.c.crashes, sqlite_where=tables.has_crashed, postgresql_where=tables.has_crashed
)
sa.Index(
    "delivery_dsn_due",
    tables.delivery.c.dsn_due,
    sqlite_where=tables.dsn_due_is_set,
    postgresql_where=tables.dsn_due_is_set,
)
sa.Index("delivery_by_recipient", tables.lower_recipient, tables.delivery.c.message)
sa.Index("message_by_message_id", tables.message.c.message_id)
sa.Index("suppression_by_reason", tables.suppression.c.reason, tables.suppression.c.id)
sa.Index(
    "suppression_address",
    tables.suppression.c.address,
    tables.suppression.c.scope,
    tables.suppression.c.stream,
    unique=True,
)

sa.Index(
    "webhook_queue_by_message",
    webhook_tables.webhook_queue.c.webhook,
    webhook_tables.webhook_queue.c.message,
    webhook_tables.webhook_queue.c.id,
)
sa.Index("webhook_queue_due", webhook_tables.webhook_queue.c.webhook, webhook_tables.webhook_queue.c.next_attempt_at)
sa.Index("webhook_queue_message", webhook_tables.webhook_queue.c.message)
sa.Index("webhook_log_by_webhook", webhook_tables.webhook_log.c.webhook, webhook_tables.webhook_log.c.id)
sa.Index("webhook_log_by_message", webhook_tables.webhook_log.c.message)

sa.Index("pixel_hit_by_pixel", console_tables.pixel_hit.c.pixel, console_tables.pixel_hit.c.id)
sa.Index("idempotent_answer_by_time", console_tables.idempotent_answer.c.at)
sa.Index("audit_entry_by_recipient", console_tables.audit_entry.c.recipient, console_tables.audit_entry.c.id)

_is_of_link = roll_up_tables.roll_up.c.dimension == sa.literal_column("'link'")
# The most clicked of an hour or a day are its first ones, however many there are.
sa.Index(
    "roll_up_of_links",
    *(roll_up_tables.roll_up.c[name] for name in ("period", "start", "count")),
    sqlite_where=_is_of_link,
    postgresql_where=_is_of_link,
)
