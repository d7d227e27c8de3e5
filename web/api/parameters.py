"""What a request may say in its query, and how that is read.

A resource's parameters are a model: its fields are what the description lists, and any other parameter is an
error, so that a misspelt filter does not find everything.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema
from starlette.requests import Request

from relay import address, ids, moments
from relay.config import values
from web.api.answers import ApiError
from web.field_errors import describe_faults

MAX_ITEMS = 500  # of a list
_DEFAULT_ITEMS = 50
_MAX_TEXT = 400  # characters

QueryType = TypeVar("QueryType", bound="QueryParameters")


class QueryParameters(BaseModel):
    """The parameters of a call."""

    model_config = ConfigDict(extra="forbid", validate_by_name=False, validate_by_alias=True)


def _read_count(text: object) -> object:
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]{1,6}", text):
        raise ValueError("must be a number, 1 or more")
    return min(int(text), MAX_ITEMS) if int(text) else 0


def _read_moment(text: object) -> object:
    return moments.read_moment(text, datetime.now(UTC)) if isinstance(text, str) else text


def _read_seconds(text: object) -> object:
    if not isinstance(text, str):
        return text
    return values.read_duration(f"{text}s" if text.isdecimal() else text)


# An empty one would find everything, and with DELETE remove it: what a script's unset variable sends.
Text = Annotated[str, Field(min_length=1, max_length=_MAX_TEXT)]
Stream = Annotated[str, Field(min_length=1, max_length=_MAX_TEXT), AfterValidator(values.read_stream)]
AnyStream = Annotated[str, Field(max_length=_MAX_TEXT), AfterValidator(values.read_stream)]  # "": the default one


class MustMatch:
    """An annotation of a str that must match a pattern as a whole. `requirement` is the error: what the str must be."""

    def __init__(self, pattern: str, requirement: str) -> None:
        self._pattern = re.compile(pattern)
        self._expected = requirement

    def __get_pydantic_core_schema__(self, source: type[str], handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(schema) | {"pattern": f"^{self._pattern.pattern}$"}

    def _check(self, text: str) -> str:
        if not self._pattern.fullmatch(text):
            raise ValueError(self._expected)
        return text


def cursor_pattern(pattern: str) -> MustMatch:
    """The annotation of a cursor of that form; "" is the beginning."""
    return MustMatch(f"({pattern})?", "must be the `next` of the page before")


_CURSOR_FIELD = Field(description="the `next` of the page before")
IdCursor = Annotated[str, cursor_pattern(ids.PATTERN), _CURSOR_FIELD]
NumberCursor = Annotated[str, cursor_pattern("[0-9]{1,9}"), _CURSOR_FIELD]
Count = Annotated[
    int,
    BeforeValidator(_read_count),
    Field(ge=1),
    WithJsonSchema(
        {
            "type": "integer",
            "minimum": 1,
            "maximum": 999_999,
            "default": _DEFAULT_ITEMS,
            "description": f"items of the answer; at most {MAX_ITEMS} are given",
        }
    ),
]


def read_address(text: str) -> str:
    """The address, written plainly. Raises ValueError."""
    try:
        mailbox = address.parse_mailbox(text)
    except (address.PathSyntaxError, UnicodeEncodeError):
        mailbox = address.NULL
    if not address.domain(mailbox) or mailbox != text.removesuffix("."):
        raise ValueError("must be a mail address such as ann@example.com")
    return mailbox


# RFC 5321 §4.1.2 as `relay.address` reads it: a local part, and labels; each of any characters above ASCII too.
_LOCAL = r'[^\x00-\x20"(),:;<>@\[\\\]\x7f]{1,256}|"([^\x00-\x1f"\\\x7f]|\\[\x20-\x7e]){0,250}"'
_LABEL_END = r"[^\x00-/:-@\[-^`{-\x7f]"
_LABEL = rf"[^\x00-/:-@\[-`{{-\x7f]([^\x00-,./:-@\[-^`{{-\x7f]{{0,61}}{_LABEL_END})?"
ADDRESS_SCHEMA = {
    "type": "string",
    "pattern": rf"^({_LOCAL})@{_LABEL}([.]{_LABEL}){{0,10}}[.]?$",
    "examples": ["ann@example.com"],
}
Address = Annotated[str, Field(max_length=600), AfterValidator(read_address), WithJsonSchema(ADDRESS_SCHEMA)]
Duration = Annotated[
    str,
    AfterValidator(lambda text: values.read_duration(text) and text),
    WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]{0,3}[mhd]$", "examples": ["30d"]}),
]
_MOMENT_SCHEMA = {
    "anyOf": [
        {"type": "string", "format": "date-time"},
        {"type": "string", "format": "date"},
        {"type": "string", "pattern": "^[0-9]{1,3}[mhdw]$", "description": "so long ago"},
        {"type": "string", "pattern": "^[0-9]{9,11}$", "description": "seconds since 1970"},
    ],
    "examples": ["2026-11-27", "2026-11-27T14:00:00Z", "7d"],
}
Moment = Annotated[datetime, BeforeValidator(_read_moment), WithJsonSchema(_MOMENT_SCHEMA)]
Seconds = Annotated[
    timedelta,
    BeforeValidator(_read_seconds),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,3}s?$", "examples": ["30s"]}),
]


class PageParameters(QueryParameters):
    """A page of a list."""

    limit: Count = _DEFAULT_ITEMS
    cursor: IdCursor = ""


class TimeParameters(PageParameters):
    """A page of a list of what happened in a time."""

    since: Moment | None = Field(default=None, alias="from", description="what happened then or later")
    until: Moment | None = Field(default=None, alias="to", description="what happened before then")


def read_query(request: Request, form: type[QueryType]) -> QueryType:
    """What the query says. Raises ApiError that names every parameter at fault."""
    # PostgreSQL takes no NUL in a text.
    given = {name: value.replace("\x00", "\ufffd") for name, value in request.query_params.items()}
    try:
        return form.model_validate(given)
    except ValidationError as error:
        raise ApiError(400, "bad_request", describe_faults(error, form, is_query=True)) from None
