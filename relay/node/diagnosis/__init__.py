"""What `waypost doctor` looks at beyond the configuration itself: DNS, certificates, upstreams, the machine.

- `finding` what is found and what to do about it
- `dns_lookup` questions to the DNS
- `dns_records` what is published against what should be
- `spf` how many questions a record costs
- `certificates` of listeners and of the tracking site
- `upstream_features` what an upstream offers
- `openid_provider` of the console
- `machine` clock and disk
"""
