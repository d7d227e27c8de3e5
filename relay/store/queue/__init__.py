"""The queue: deliveries, who works on them, and what became of them.

`deliveries` messages filed and outcomes recorded · `leases` who attempts what · `dsn_due` which senders are still to
hear · `late_reports` what arrives after an upstream's 250 · `redaction` facts as `[privacy] mode` keeps them ·
`long_urls` destinations that do not fit into a token · `unstorable_results` what a fault of ours keeps from being
stored
"""
