"""What is stored: messages, deliveries, attempts, events, suppressions, accounts.

- `store` reads, writes, and journals what cannot be written
- `facts` what may wait in the journal, and how it is applied
- `retention` deletes what has expired
- `roll_up_rebuild` counts all events again
- `database/` the engine and the rows
- `webhooks/` what is sent to endpoints
- `events` the history of deliveries
- `recipients/` suppressions, consent and preferences
- `message_labels` tags and metadata, to find messages by
- `message_words` words of messages, to find them by
- `tracking/` hits and their verdicts
- `queue/` deliveries and what became of them
- `refusals` commands of clients that were refused
- `upstream_states` the states of upstreams, as mail processes report them
- `chores` what one process does for all
- `sent_alerts` of what the operator has been alerted
- `views/` read queries for console, API and commands
- `console/` accounts, sessions and keys
- `node_name` the name of a machine, by which leases say whose they are

From `database/` to `views/` each package uses those before it only; `store`, `facts`, `retention` and `roll_up_rebuild`
use them all. Functions take an open transaction and never open or commit one.
"""
