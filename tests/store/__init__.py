"""The store: what is written and found again, on SQLite and PostgreSQL, and what is removed in time."""
