"""How many mistakes a client may make, and how long it may wait, before its connection ends.

In: a client's mistakes, and whether it is a stranger.  Out: when to pause, and a refusal with 421 at the limit. All
counts start again with each message that is accepted.
"""

from relay.reply import Reply, refusal

MAX_ERRORS = 20  # between two accepted messages
MAX_IDLE_TIMES = 4  # times the idle time: how long a stranger may wait between commands without sending a mail
# Commands that bring no mail, and MAIL, RCPT and DATA that were refused, since the last mail: of strangers (True)
# and of others, who may keep a connection open for days. Beyond that each counts as an error.
MAX_UNPRODUCTIVE, MAX_REFUSED_COMMANDS = {True: 100, False: 10_000}, {True: 20, False: 10_000}
WRONG_PASSWORD_ERRORS = 4  # a wrong password counts as that many: five guesses
# Errors that the client makes: syntax, sequence, credentials. A recipient that we refuse is none of them.
_ERRORS_BY_CODE = dict.fromkeys((500, 501, 502, 503, 504, 555), 1) | {535: WRONG_PASSWORD_ERRORS}
# From that many errors on a stranger waits before each refusal, longer each time.
_PAUSE_FROM_ERRORS, _PAUSE_S, _MAX_PAUSE_S = 5, 0.1, 1.0


class ErrorBudget:
    """The counts of one connection."""

    def __init__(self) -> None:
        self._waited_s = 0.0
        self.reset()

    def reset(self) -> None:
        """A message was accepted: all counts start again."""
        self._errors = self._unproductive = self._refused_commands = 0
        self._waited_s = 0.0  # for commands

    def count_error(self) -> None:
        self._errors += 1

    def count_refusal(self, reply: Reply) -> None:
        """Counts a reply of ours as an error if the client caused it."""
        self._errors += _ERRORS_BY_CODE.get(reply.code, 0)

    def count_unproductive(self, *, is_stranger: bool) -> None:
        """A command that brings no mail."""
        self._unproductive += 1
        self._errors += self._unproductive > MAX_UNPRODUCTIVE[is_stranger]

    def count_refused_command(self, *, is_stranger: bool) -> None:
        """A MAIL, RCPT or DATA that we refused."""
        self._refused_commands += 1
        self._errors += self._refused_commands >= MAX_REFUSED_COMMANDS[is_stranger]

    def count_wait(self, seconds: float, idle_s: float) -> None:
        """A stranger was silent for so long before a command. Raises RefusedError with 421 after too long without a
        mail."""
        self._waited_s += seconds
        if self._waited_s > MAX_IDLE_TIMES * idle_s:
            raise refusal(421, "4.4.2", "too long without a mail")

    def check_errors(self) -> None:
        """Raises RefusedError with 421 at the limit."""
        if self._errors >= MAX_ERRORS:
            raise refusal(421, "4.7.0", "too many errors")

    def pause_s(self, *, is_stranger: bool) -> float:
        """How long to wait before a refusal is sent, in seconds."""
        if self._errors < _PAUSE_FROM_ERRORS or not is_stranger:
            return 0.0
        return min((self._errors - _PAUSE_FROM_ERRORS + 1) * _PAUSE_S, _MAX_PAUSE_S)
