"""An upstream and how it is spoken to.

`upstream` which server takes a mail, and whether it is tried now · `breaker` when it counts as down · `rate_limit`
its rate · `pool` its connections · `stalled_connections` on which nothing moves · `connect` TCP, TLS, EHLO, AUTH ·
`helo_name` our name · `protocol` octets out, replies in · `negotiation` what a mail needs against what is offered ·
`transaction` MAIL to the dot, a reply for each recipient
"""
