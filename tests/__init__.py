"""The tests, grouped as the program is.

`values`, `mime`, `rewrite`, `bounce`, `attribution` pure functions, with their corpora · `store` both databases ·
`edge` SMTP in · `delivery` SMTP out · `return_path` mail that comes back · `webhooks` · `web` public pages, API and
console · `node` the processes of one node · `cli` commands · `library` `relay.tracking`

`cases` golden mails · `dialogs` SMTP dialogs as scripts · `clients` programs that send mail · `faults` kills, outages,
full disks · `patterns` every pattern is linear · `fuzz` mutated input · `documents` docs and packaging

`test_journey` a mail from app to click · `test_cases` the golden mails · `test_floors` the rules for modules, with
the table `floors`

`conftest`, `waypost_server`, `fork_server` servers under test · `upstream`, `receiver`, `dns_server`,
`postgresql_server`, `sqlite_file`, `smtp_client` the world around them · `message_factory`, `spellings`, `user_agents`,
`certificates` what they are given · `waiting` until something holds · `processor_time` limits of it

`faketime` what each Python of `make later` begins with

Here too: compiled modules.
"""

import os
import sys

# As in the Makefile: without compiled modules each start of the program compiles all of them, each test run too.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
