"""What is kept: messages, deliveries, attempts, events, suppressions, accounts.

`store` the door: read, write, and a journal for when writing fails · `errors` whose fault an error is · `retention`
what has expired · `database/` the engine and the rows · `queue/` deliveries and what became of them · `recipients/`
suppressions, consent and preferences · `tracking/` hits and their verdicts · `webhooks/` what is sent to endpoints ·
`views/` read queries for console, API and commands · `console/` accounts, sessions and keys

Functions take an open transaction and never open or commit one.
"""
