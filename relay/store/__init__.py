"""What is stored: messages, deliveries, attempts, events, suppressions, accounts.

`store` read, write, and a journal for when writing fails · `retention` what has expired · `roll_up_rebuild` counts made
again · `database/` the engine and the rows · `webhooks/` what is sent to endpoints · `events` the history of deliveries
· `recipients/` suppressions, consent and preferences · `message_labels` tags and metadata, to find messages by ·
`message_words` their words, too · `tracking/` hits and their verdicts · `queue/` deliveries and what became of them ·
`refusals` what clients were refused · `upstream_states` what mail processes say of their upstreams · `views/` read
queries for console, API and commands · `console/` accounts, sessions and keys · `node_name` whose leases are whose

From `database/` to `views/` each package uses those before it only; `store`, `retention` and `roll_up_rebuild`
use them all. Functions take an open transaction and never open or commit one.
"""
