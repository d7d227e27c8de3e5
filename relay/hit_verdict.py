"""The verdicts on opens and clicks: the one list of them.

The rules of `attribution`, counters in the database, the API and the command line take these names.
"""

from typing import Literal, get_args

VerdictName = Literal["human", "proxied", "machine", "unknown"]
VERDICTS: tuple[str, ...] = get_args(VerdictName)
HUMAN, PROXIED, MACHINE, UNKNOWN = VERDICTS
PERSON_VERDICTS = (HUMAN, PROXIED)
CLICK_VERDICTS = (HUMAN, MACHINE, UNKNOWN)  # no proxy follows a link
