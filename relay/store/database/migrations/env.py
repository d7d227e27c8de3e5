"""Alembic's entry: runs the steps in the transaction that `relay.store.database.migrate` opened."""

from alembic import context

from relay.store.database import columns, indexes  # noqa: F401  `indexes` fills the metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=columns.metadata,
    render_as_batch=True,
)
context.run_migrations()
