"""Errors for the operator: lines that say what to do, without a traceback."""


class OperatorError(Exception):
    """The command ends with exit status 1. Its text is one line on standard error."""

    @property
    def lines(self) -> list[str]:
        return [f"waypost: {self}"]
