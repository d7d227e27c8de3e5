"""The SMTP client: upstreams, connections and transactions.

- `failover` which upstream takes a mail, and which one after an outage
- `upstream` whether an upstream is tried now, and its results
- `attempt_result` the result for one recipient
- `breaker` when an upstream counts as down
- `rate_limit` the rate of an upstream
- `pool` the connections to an upstream
- `stalled_connections` connections on which nothing moves
- `connect` TCP, TLS, EHLO, AUTH
- `helo_name` our name in EHLO
- `protocol` octets out, replies in
- `negotiation` what a mail needs against what is offered
- `conversation_record` what is said, for attempts that do not deliver
- `transaction` MAIL, RCPT, DATA to the dot, and the replies
"""
