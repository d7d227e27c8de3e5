"""What is wrong with a field, in plain words: for the configuration, bodies and parameters of the API, and commands.

In: one error of pydantic's `ValidationError.errors()`.  Out: a clause that follows the field's name, says what is
allowed, and where that helps what was given (`must be one of all or stream, not "some"`).
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

_MAX_SHOWN = 60  # characters of what was given
_Context = Mapping[str, Any]  # Any: a limit, or a text

# By pydantic's name of the error (https://docs.pydantic.dev/latest/errors/validation_errors/).
_CLAUSES: Mapping[str, Callable[[_Context], str]] = {
    "missing": lambda _: "is required",
    "extra_forbidden": lambda _: "is unknown here",
    "json_invalid": lambda about: f"must be valid JSON: {about['error']}",
    "string_too_short": lambda about: (
        "must not be empty" if about["min_length"] == 1 else f"must have {about['min_length']} characters or more"
    ),
    "string_too_long": lambda about: f"must have at most {about['max_length']} characters",
    "string_pattern_mismatch": lambda about: f"must fit the pattern {about['pattern']}",
    "too_short": lambda about: (
        "must not be empty" if about["min_length"] == 1 else f"must have {about['min_length']} items or more"
    ),
    "too_long": lambda about: f"must have at most {about['max_length']} items",
    "greater_than": lambda about: f"must be more than {about['gt']}",
    "greater_than_equal": lambda about: f"must be {about['ge']} or more",
    "less_than": lambda about: f"must be less than {about['lt']}",
    "less_than_equal": lambda about: f"must be {about['le']} or less",
    "timezone_aware": lambda _: "must name its time zone, as 2027-01-31T12:00:00Z does",
}
_KINDS = {
    "string": "a text",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "list": "a list",
    "dict": "an object",
    "model": "an object",
    "model_attributes": "an object",
    "datetime": "a time such as 2027-01-31T12:00:00Z",
}


def describe_fault(fault: Any, *, is_secret: bool = False) -> str:  # Any: pydantic's own shape
    """The clause for one fault. What was given is left out of it if `is_secret`."""
    kind, about, given = fault["type"], fault.get("ctx", {}), fault.get("input")
    if kind == "value_error":  # a reader of ours, which has said it all
        return str(fault["msg"]).removeprefix("Value error, ")
    if kind in _CLAUSES:
        return _CLAUSES[kind](about)
    if kind in ("literal_error", "enum"):
        clause = f"must be one of {about['expected'].replace(chr(39), '')}"
    elif wanted := _KINDS.get(kind.rpartition("_")[0]):
        clause = f"must be {wanted}"
    else:
        message = str(fault["msg"]).removeprefix("Input ")
        clause = message[:1].lower() + message[1:]
    return clause if is_secret else append_value(clause, given)


def append_value(clause: str, value: object) -> str:
    """The clause with what was given behind it, if that is a text, a number or the like."""
    if not isinstance(value, str | int | float | None):
        return clause
    shown = json.dumps(value, ensure_ascii=False)
    return f"{clause}, not {shown if len(shown) <= _MAX_SHOWN else shown[:_MAX_SHOWN] + '…'}"
