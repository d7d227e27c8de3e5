"""The database: how it is opened, written and read, and its rows.

- `engine` SQLite or PostgreSQL
- `writer` the one thread that commits
- `write_job` what it is given to do
- `write_turns` SQLite's write lock, shared by processes
- `reader` reads with a limit
- `journal` facts that could not be committed yet
- `fact_log` facts on disk before they are committed
- `recent_facts` the facts of the last seconds
- `preparation` what is done before the database is opened
- `migrate` the schema's history, which lies in `migrations/`
- `columns` types of columns, and rows as values
- `tables` the rows of mail
- `console_tables` the rows of operators: accounts, keys, pixels
- `webhook_tables` the rows of webhooks
- `partitions` events and attempts by month, on PostgreSQL
- `roll_up_tables` the rows of counts
- `indexes` the indexes of all tables
- `roll_ups` counts events by hour and day
- `identities` how an address is written down
- `bulk_statement` many rows by the driver
- `delivery_rows` reading and changing a delivery's row
- `name_lookup` finding the rows of addresses
- `row_pages` lists of rows by page, the newest first
- `errors` whose fault an error is
- `after_commit` what is done once a transaction is committed
- `savepoints` many items in one transaction, where one may fail alone
- `notifications` what wakes other processes
"""
