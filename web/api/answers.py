"""The form of the API's answers: objects, lists, errors; and how bodies are read."""

from collections.abc import Sequence
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from relay.store.views.json_objects import JsonObject
from web.field_errors import describe_faults

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
