"""The queue: deliveries, who works on them, and what became of them.

- `queue_facts` a new message, an outcome: what is stored, as values
- `deliveries` messages and their deliveries
- `outcomes` records how attempts ended
- `attempts` one attempt with its reply
- `leases` which process works on which delivery
- `dsn_due` which DSNs are still to be sent
- `late_reports` what arrives after an upstream's 250
- `redaction` facts as `[privacy] mode` keeps them
- `long_url_files` and `long_urls` (their rows) destinations that do not fit into a token
- `content_files` large octets beside SQLite's database
- `unstorable_results` what a fault of ours keeps from being stored
- `queue_actions` what operators do with what waits
- `resend` a message sent once more
"""
