"""Who made a hit: a person, somebody's proxy, or a machine.

`request_verdict` by one request · `delivery_verdict` by all hits of a delivery · `rules` patterns and networks from
`rules.toml`
"""
