"""Waypost's mail side: SMTP in, rewriting, SMTP out, and the store they share.

The map, by floor (a module imports only downwards; `tests/test_floors.py` holds it):

5  `__main__` is `python -m relay`
4  `cli` the commands
3  `node` assembles and supervises the roles
2  `edge` SMTP in · `delivery` SMTP out · `tracking` for programs that send mail by themselves
1  `rewrite` octets in, edits out · `bounce` replies in, verdicts out · `store` the database and its journal
0  what all of these use:
   - mail: `mime` messages as spans · `edits` spans and holes · `address` paths and mailboxes · `domain_names` every
     spelling of a name · `envelope` of a transaction · `reply` of an SMTP server · `conversation` with an SMTP server ·
     `return_path` VERP · `suppression_reason` the list of reasons
   - tracking: `tokens` of tracking URLs · `token_payload` how they are packed · `attribution` who made a hit ·
     `event_type` the list of events · `hit_verdict` the list of verdicts · `webhook_format` the list of formats ·
     `webhook_signatures` how requests are signed
   - secrets: `key_file` the keys · `key_derivation` a key for each purpose · `sealed_keys` keys that a passphrase seals
     · `redaction` removes what identifies an address
   - networks: `acceptor` of connections · `ip_addresses` and networks · `public_addresses` of the Internet · `clients`
     limits by network
   - configuration and operators: `config` · `log` one function for each fact, with `process_log` for the processes ·
     `log_lines` writes the lines · `metrics` one function for each count · `shared_counters` that all processes see ·
     `telemetry` traces of messages · `alerts` what needs an operator · `operator_error` errors for the operator ·
     `field_faults` what is wrong with a field, in words
   - values and files: `ids` of messages and events · `moments` points in time, as people write them · `backoff` waits
     before another try · `deadline` that moves often · `timed_wait` for futures and events · `clock_step` the clock
     was set · `base_encoding` octets as text · `durable_files` forced to disk

"""

__version__ = "0.1.0"
