"""The SMTP client: upstreams, connections and transactions.

`failover` which upstream takes a mail, and which one after an outage · `upstream` whether one is tried now, and its
results · `attempt_result` the result for one recipient · `breaker` when an upstream counts as down · `rate_limit` its
rate · `pool` its connections · `stalled_connections` on which nothing moves · `connect` TCP, TLS, EHLO, AUTH ·
`helo_name` our name · `protocol` octets out, replies in · `negotiation` what a mail needs against what is offered ·
`transaction` MAIL to the dot
"""
