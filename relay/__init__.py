"""Waypost's mail side: SMTP in, rewriting, SMTP out, and the store they share.

The map, by floor (a module imports only downwards; `tests/test_floors.py` holds it):

3  `cli` the commands · `node` assembles and supervises the roles
2  `edge` SMTP in · `delivery` SMTP out · `tracking` the door for programs that send by themselves
1  `rewrite` octets in, edits out · `bounce` replies in, verdicts out · `store` what is kept
0  `mime` messages as spans · `attribution` who made a hit · `config` the configuration · `log` one function a fact ·
   `log_lines` how a line looks · `event_type` the one list of events · `address` paths and mailboxes ·
   `domain_names` every spelling of a name ·
   `envelope` of a transaction · `reply` of an SMTP server · `edits` spans and holes · `tokens` what a tracking URL
   carries · `token_payload` how it is packed · `durable_files` forced to disk · `key_file` the keys ·
   `return_path` VERP · `redaction` removes what leads to an address · `webhook_signatures` how requests are signed ·
   `public_addresses` of the Internet · `clients` their history · `ids` of messages and events

`__main__` is `python -m relay`.
"""

__version__ = "0.1.0"
