"""The tests, grouped as the program is.

`values`, `mime`, `rewrite`, `bounce`, `attribution` pure functions, with their corpora · `store` both databases ·
`edge` SMTP in · `delivery` SMTP out · `return_path` mail that comes back · `webhooks` · `web` public pages, API and
console · `node` the processes of one node · `cli` commands · `library` `relay.tracking`

`cases` golden mails · `dialogs` SMTP dialogs as scripts · `clients` programs that send mail · `faults` kills, outages,
full disks · `patterns` every pattern is linear · `fuzz` mutated input · `documents` docs and packaging

`test_journey` a mail from app to click · `test_cases` the golden mails · `test_floors` the rules for modules, with
the table `floors`

`conftest`, `waypost_server`, `fork_server` servers under test · `upstream`, `receiver`, `dns_server`,
`postgresql_server`, `smtp_client` the world around them · `message_factory`, `spellings`, `user_agents`,
`certificates` what they are given · `waiting` until something holds · `processor_time` limits of it

Here too: sleeping under a clock that is set by faketime, and compiled modules.

libfaketime 0.9.10 lets `clock_nanosleep` fail on a monotonic clock that it does not fake; `select` sleeps too.
"""

import os
import select
import sys
import time
from typing import SupportsIndex


def _sleep(seconds: float | SupportsIndex, /) -> None:
    select.select([], [], [], max(0.0, float(seconds)))


if "FAKETIME" in os.environ:
    time.sleep = _sleep

# As in the Makefile: without compiled modules each start of the program compiles all of them, each test run too.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
