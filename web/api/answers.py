"""The form of the API's answers: objects, lists, errors; and how bodies are read."""

from collections.abc import Sequence
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, RootModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from relay import field_faults
from relay.store.views.json_objects import JsonObject

_MAX_FAULTS = 20  # that an error names
_MAX_NAME = 80  # characters of a field's name
_SECRETS = frozenset({"secret", "url"})  # fields whose values no error shows

BodyType = TypeVar("BodyType", bound=BaseModel)


class RequestBody(BaseModel):
    """What a request's body may say: nothing but its fields."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ApiError(Exception):
    """The request cannot be answered as the client wishes."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def json_response(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An object, as an answer that nothing caches."""
    return JSONResponse(value, status, {"cache-control": "no-store"} | (headers or {}))


def list_response(items: Sequence[JsonObject], cursor: str) -> Response:
    """A page of a list; `cursor` is where the next one begins, "" at the end."""
    return json_response({"items": items, "next": cursor or None})


def error_response(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return json_response({"error": {"code": code, "message": message}}, status, headers)


async def read_body(request: Request, form: type[BodyType]) -> BodyType:
    """What the body says. Raises ApiError that names every field at fault."""
    try:
        # PostgreSQL takes no NUL in a text.
        return form.model_validate_json((await request.body() or b"{}").replace(rb"\u0000", rb"\ufffd"))
    except ValidationError as error:
        raise ApiError(422, "invalid", describe_faults(error, form)) from None


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
