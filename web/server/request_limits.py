"""Limits on what a client sends to the HTTP server, and on the time for each step."""

from typing import NamedTuple


class RequestLimits(NamedTuple):
    """Sizes in octets, times in seconds."""

    head_octets: int = 16 << 10
    head_fields: int = 100
    pipelined: int = 8  # requests behind one that is being answered; browsers send none
    first_s: float = 10.0  # from the connection to the first octet
    idle_s: float = 5.0  # between two requests
    head_s: float = 10.0  # from the first octet to the end of the head
    body_s: float = 30.0  # from there to the end of the body
    surplus_s: float = (
        2.0  # for the rest of a body that was answered early: some clients read only after they have sent all
    )
    answer_s: float = 30.0  # to take 64 KB of an answer
    close_s: float = 5.0  # to take the last octets before the connection is closed


DEFAULTS = RequestLimits()
