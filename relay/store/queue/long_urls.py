"""Long destinations as rows of the database, for machines without the files of `long_url_files`."""

from datetime import datetime

import sqlalchemy as sa

from relay.store.database import columns, tables
from relay.store.queue.long_url_files import MAX_LONG_URLS as MAX_LONG_URLS
from relay.store.queue.long_url_files import LongUrlRows as LongUrlRows
from relay.store.queue.long_url_files import decrypt_url, file_name


def insert_rows(connection: sa.Connection, rows: LongUrlRows, at: datetime) -> None:
    """Stores the rows that `LongUrlFiles.save` returned, for machines without its files."""
    table = tables.destination
    # Sorted, so that two writers of the same rows do not deadlock.
    for name, sealed in sorted(rows):
        row = columns.insert_into(connection, table).values(name=name, sealed=sealed, used_at=at)
        connection.execute(row.on_conflict_do_update(index_elements=[table.c.name], set_={"used_at": at}))


def find_row(connection: sa.Connection, reference: bytes) -> bytes | None:
    """The URL, as the database has it; None if it has not."""
    table = tables.destination
    sealed = connection.scalar(sa.select(table.c.sealed).where(table.c.name == file_name(reference)))
    return None if sealed is None else decrypt_url(reference, sealed)
