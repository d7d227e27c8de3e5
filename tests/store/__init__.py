"""The store: what is written and found again, on SQLite and PostgreSQL, and what is removed in time.

- `test_store` the writer, facts that are applied once, the journal
- `test_errors` database trouble, and errors of ours
- `test_fact_log` facts on disk before they are in the database
- `test_rows` messages and deliveries as objects
- `test_migrations` databases and journals of earlier versions
- `test_sqlite_file` the size of SQLite's files
- `test_partitions` PostgreSQL's months
- `test_postgresql_connections` one PostgreSQL server or several
- `test_notifications` PostgreSQL's notifications
- `test_query_plans` no query reads a whole table
- `test_roll_ups` counts of events, by hour and day
- `test_packed_rows` thousands of rows in one step
- `test_hit_batches` hits that are recorded together
- `test_gauges` gauges for metrics and alerts
- `test_message_words` the search in messages
- `test_content_files` large mail in files
- `test_destinations` links that are too long for a URL
- `test_suppressions` suppressions: when, until when, for whom
- `test_suppression_csv` suppressions as CSV
- `test_privacy` what is stored of recipients, by `[privacy] mode`
- `test_personal_data` one address, exported and erased
- `test_redaction` strings that identify an address, removed
- `test_retention` deletion of what is older than configured
- `test_backup` a backup of a running server
- `disk_search` searches all files of a server for an address
- `retention_steps` retention, step by step, until nothing is left
"""
