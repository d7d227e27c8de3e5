"""Who made a hit: a person, somebody's proxy, or a machine.

- `request_verdict` the verdict by one request alone
- `delivery_verdict` the verdicts by all hits of a delivery
- `rules` patterns and networks from `rules.toml`
"""
