"""What a client may send to the HTTP server, and the time that it has for each step."""

from typing import NamedTuple


class RequestLimits(NamedTuple):
    """What a client may send, and the time that it has for it."""

    head_octets: int = 16 << 10
    head_fields: int = 100
    pipelined: int = 8  # requests behind one that is being answered; browsers send none
    first_s: float = 10.0  # from the connection to the first octet
    idle_s: float = 5.0  # between two requests
    head_s: float = 10.0  # from the first octet to the end of the head
    body_s: float = 30.0  # from there to the end of the body
    surplus_s: float = 2.0  # for the rest of a body that has been answered: who sends may read the answer after it only
    answer_s: float = 30.0  # to take an answer, 64 KB at a time
    close_s: float = 5.0  # to take the last of it


DEFAULTS = RequestLimits()
