"""SMTP out.

`intake` from an accepted message to the client's reply · `attempts` the values of an attempt · `dispatch` starts
attempts and returns outcomes · `recipient_filter` who is left out or not tracked · `copies` the octets for a recipient
· `schedule` what a result means, and when to try again · `outcomes` that as the store records it · `message_rows` the
rows of a message · `rewrite_settings` how it is to be rewritten · `queue_worker` leases, attempts and records ·
`lease_renewal` during attempts · `smtp/` upstreams, connections and transactions · `sandbox` instead of an upstream ·
`traced_sender` around either · `memory_budget` how much mail is in memory · `client_credentials` clients' own logins ·
`dsn` a notification's octets · `dsn_sender` which one is due · `return_path_mail` mail to the return path ·
`report_reader` has it read in `report_process` · `webhooks/` events sent by HTTP
"""
