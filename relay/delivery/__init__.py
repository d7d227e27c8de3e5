"""SMTP out.

`intake` from an accepted message to the client's reply · `dispatch` one message to its recipients · `message_rows`
what is written down of a message · `queue_worker` leases, attempts and records · `schedule` what an answer means, and
when to try again · `smtp/` upstreams, connections and transactions · `sandbox` the upstream that is none ·
`memory_budget` how much mail is in memory · `clock_step` the clock was set · `client_credentials` clients' own logins
· `dsn` a notification's octets · `dsn_sender` who gets one · `return_path_mail` what comes back by mail ·
`report_reader` has it read in `report_process` · `webhooks/` events sent by HTTP
"""
