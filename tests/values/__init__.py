"""Values that every package uses: addresses, ids, tokens, edits, kinds of events.

- `test_floor0_values` replies, tokens, edits, ids, the octets of DATA
- `test_paths` paths of MAIL and RCPT, addresses, domain names
- `test_ip_addresses` IP addresses and networks
- `test_base_encoding` base64url and base32hex
- `test_event_type` `EventType`, and whatever lists its members
"""
