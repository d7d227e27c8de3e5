"""Delivery: from an accepted message to its outcomes, DSNs and webhooks.

- `intake` from an accepted message to the client's reply
- `client_reply` what the client is answered after the dot
- `attempts` the values of an attempt
- `dispatch` starts attempts and returns outcomes
- `recipient_filter` who is left out or not tracked
- `copies` the octets for a recipient
- `schedule` what a result means, and when to try again
- `outcomes` results as outcomes that the store records
- `message_rows` the rows of a message in the database
- `rewrite_settings` how a message is to be rewritten
- `queue_worker` has due deliveries attempted, records outcomes
- `due_deliveries` leases them
- `lease_renewal` renews leases during attempts
- `smtp/` upstreams, connections and transactions
- `sandbox` takes mail in place of an upstream
- `traced_sender` traces what an upstream or the sandbox is sent
- `memory_budget` how much mail is in memory
- `unrecorded_outcomes` how much has been sent and is not recorded yet
- `client_credentials` logins of clients at the upstream
- `dsn` the octets of a DSN
- `dsn_sender` which DSN is due, and puts it into the queue
- `return_path_mail` mail to the return path
- `report_reader` has reports read in a process of its own, `report_process`
- `webhooks/` events sent by HTTP
"""
