"""Why an address gets no mail, and of which streams: the one list of reasons and scopes.

Suppressions in the database, their files, the API and the command line take these names.
"""

from typing import Literal, get_args

SuppressionReason = Literal["hard_bounce", "unsubscribe", "complaint", "manual"]
REASONS: tuple[str, ...] = get_args(SuppressionReason)
HARD_BOUNCE, UNSUBSCRIBE, COMPLAINT, MANUAL = REASONS
SuppressionScope = Literal["all", "stream"]
SCOPES: tuple[str, ...] = get_args(SuppressionScope)
ALL, STREAM = SCOPES
