"""SMTP out: queue, upstreams, attempts, retries, notices to the sender, signatures.

- `test_delivery` inline and queued mode: whose reply the app gets, what is stored, what is retried
- `test_conversations` what is kept of attempts that failed
- `test_transaction` MAIL to the dot, with scripted servers of several kinds
- `test_upstreams` the choice of upstream and connection, and whose credentials are used
- `test_upstream_greeting` connection, greeting and EHLO
- `test_upstream_tls` TLS to upstreams, and their certificates
- `test_shared_upstreams` two nodes that share an upstream's rate and outages
- `test_provider` what a provider gets that is the upstream
- `test_queue` turns, leases, and what operators do with mail that waits
- `test_schedule` when a delivery is attempted again
- `test_expiry` what is past its time ends
- `test_outage` mail while the database is away
- `test_recovery` processes that end, stop or start at bad moments
- `test_failure_reasons` why an attempt failed, in the log
- `test_signatures` DKIM through the real relay
- `test_dsn_sender` when a DSN is sent, to whom, with what
- `test_dsn_fields` the fields of a DSN, whatever strangers put into them
- `notices` the DSNs that came back to a reverse-path
- `upstream_pool` an upstream's table, a mail and a run, for tests of the pool
"""
