"""Alembic's entry: runs the steps in the transaction that `relay.store.database.migrate` opened."""

from alembic import context
from sqlmodel import SQLModel

from relay.store.database import indexes  # noqa: F401  fills the metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=True,
)
context.run_migrations()
