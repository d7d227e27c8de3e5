"""Describes the faults of a body's fields, or of a query's parameters, in plain words.

In: pydantic's errors.  Out: a text that names each field at fault; `relay.field_faults` has the words.
"""

from pydantic import BaseModel, RootModel, ValidationError
from pydantic_core import ErrorDetails

from relay import field_faults

_MAX_FAULTS = 20  # that an error names
_MAX_NAME = 80  # characters of a field's name
_SECRETS = frozenset({"secret", "url"})  # fields whose values no error shows


def describe_faults(error: ValidationError, form: type[BaseModel], *, is_query: bool = False) -> str:
    """What is wrong with each field of a body, or with each parameter, after its name."""
    found = error.errors()
    if issubclass(form, RootModel):
        found = _faults_of_choice(found)
        if all(one["type"] == "missing" for one in found):
            return f"body: needs {' or '.join(_field_name(one['loc']) for one in found)}"
    return "; ".join(
        f"{_field_name(one['loc'])}: {_describe_one(one, form, is_query=is_query)}" for one in found[:_MAX_FAULTS]
    )


def _field_name(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part)[:_MAX_NAME] for part in location) or "body"


def _describe_one(fault: ErrorDetails, form: type[BaseModel], *, is_query: bool) -> str:
    location, what = fault["loc"], "parameter" if is_query else "field"
    if fault["type"] == "extra_forbidden" and len(location) == 1 and not issubclass(form, RootModel):
        known = ", ".join(field.alias or name for name, field in form.model_fields.items())
        return f"there is no such {what} here; there are {known}" if known else f"there is no {what} here"
    if is_query and fault["type"] == "string_too_short":
        return "is empty; leave it out where nothing is looked for"
    return field_faults.describe_fault(fault, is_secret=not _SECRETS.isdisjoint(location))


def _faults_of_choice(faults: list[ErrorDetails]) -> list[ErrorDetails]:
    """The faults of a body that may have one of several forms, without the names of our classes. Fields that only
    another form needs or lacks are no faults, unless there is nothing else to say."""
    for one in faults:
        one["loc"] = one["loc"][1:]
    of_type = {one["type"] for one in faults}
    wanted = of_type - {"missing", "extra_forbidden"} or of_type & {"missing"} or of_type
    return list({one["loc"]: one for one in faults if one["type"] in wanted}.values())
