"""Waypost's mail side: SMTP in, rewriting, SMTP out, and the store they share.

The map, by floor (a module imports only downwards; `tests/test_floors.py` holds it):

3  `cli` the commands · `node` assembles and supervises the roles
2  `edge` SMTP in · `delivery` SMTP out · `tracking` the door for programs that send by themselves
1  `rewrite` octets in, edits out · `bounce` replies in, verdicts out · `store` what is kept
0  `config` `log` `charsets` `address` `envelope` `reply` `edits` `tokens` `key_file` `return_path` `traces` `ids`
   `attribution`
"""

__version__ = "0.1.0"
