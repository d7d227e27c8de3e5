"""Waypost's mail side: SMTP in, rewriting, SMTP out, and the store they share.

The map, by floor (a module imports only downwards; `tests/test_floors.py` holds it):

3  `cli` the commands · `node` assembles and supervises the roles
2  `edge` SMTP in · `delivery` SMTP out · `tracking` for programs that send mail by themselves
1  `rewrite` octets in, edits out · `bounce` replies in, verdicts out · `store` the database and its journal
0  `mime` messages as spans · `attribution` who made a hit · `config` the configuration · `log` one function for each
   fact · `log_lines` writes the lines · `metrics` one function for each count · `shared_counters` that all processes
   see · `telemetry` traces of messages · `alerts` what needs an operator · `address` paths and mailboxes ·
   `domain_names` every spelling of a name ·
   `envelope` of a transaction · `reply` of an SMTP server · `edits` spans and holes · `tokens` of tracking URLs ·
   `token_payload` how they are packed · `base_encoding` octets as text · `key_derivation` a key for each purpose ·
   `durable_files` forced to disk · `key_file` the keys · `return_path` VERP · `redaction` removes what identifies an
   address · `webhook_format` the list of formats · `webhook_signatures` how requests are signed · `ip_addresses` and
   networks · `public_addresses` of the Internet · `clients` limits by network · `event_type` the list of events ·
   `ids` of messages and events · `backoff` waits before another try · `moments` points in time, as people write them ·
   `deadline` that moves often

`__main__` is `python -m relay`. On floor 0 are `operator_error`, what the operator is told, and
`sealed_keys`, keys that a passphrase seals, too.
"""

__version__ = "0.1.0"
