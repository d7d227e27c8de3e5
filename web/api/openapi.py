"""The API's own description, made of the routes that are there.  OpenAPI 3.1.

In: routes, whose endpoints may carry the description that `documented` gave them.  Out: one JSON object, whose schemas
are those of our models. A route without a description is listed all the same, by its path and methods.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.routing import BaseRoute, Route

from relay import ids
from web.api.authorization import required_scopes
from web.api.parameters import ADDRESS_SCHEMA, QueryParameters
from web.api.schemas import ErrorAnswer

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])  # Any: Starlette's endpoints
Json = dict[str, Any]  # Any: what JSON can hold
_Mode = Literal["validation", "serialization"]

_ERROR_REFERENCE = {"$ref": "#/components/responses/error"}
# The parameters of paths, by name.
_PATH_SCHEMAS: dict[str, Json] = {
    "address": ADDRESS_SCHEMA,
    "message": {"type": "string", "pattern": f"^{ids.PATTERN}$", "description": "a message's id"},
    "delivery": {
        "type": "string",
        "pattern": f"^{ids.PATTERN}([.][0-9]{{1,6}})?$",
        "description": "a delivery's id, or a message's for all of its deliveries",
    },
}
_ANY_TEXT = {"type": "string", "minLength": 1}
_API_DESCRIPTION = """\
What became of mail, and what to do about it.

Send `Authorization: Bearer KEY`; `waypost api-key create NAME` makes a key. Times are ISO 8601 in UTC.

A list is `{"items": […], "next": CURSOR}`: pass `next` as `cursor` to go on. \
An error is `{"error": {"code", "message"}}`.

A write with an `Idempotency-Key` is done once: the same request again gets the same answer, for a day.
"""


class EndpointDoc(NamedTuple):
    """The description of an endpoint."""

    summary: str
    request_body: type[BaseModel] | None = None
    query: type[QueryParameters] | None = None
    status: int = 200
    response: type[BaseModel] | None = None
    media_type: str = "application/json"
    needs_body: bool = True
    other_status: int = 0  # of the same answer


def documented(
    summary: str,
    request_body: type[BaseModel] | None = None,
    query: type[QueryParameters] | None = None,
    status: int = 200,
    response: type[BaseModel] | None = None,
    media_type: str = "application/json",
    *,
    needs_body: bool = True,
    other_status: int = 0,
) -> Callable[[Endpoint], Endpoint]:
    """Describes an endpoint: what it does, its body, its query parameters, and its answer on success."""

    def decorate(endpoint: Endpoint) -> Endpoint:
        vars(endpoint)["endpoint_doc"] = EndpointDoc(
            summary, request_body, query, status, response, media_type, needs_body, other_status
        )
        return endpoint

    return decorate


class _Operation(NamedTuple):
    """A method of a path."""

    path: str
    method: str
    doc: EndpointDoc


class _Schemas:
    """The schemas of all models that operations name."""

    def __init__(self, operations: Iterable[_Operation]) -> None:
        wanted: dict[tuple[type[BaseModel], _Mode], None] = {(ErrorAnswer, "serialization"): None}
        queries: set[type[BaseModel]] = set()
        for one in operations:
            if one.doc.query:
                queries.add(one.doc.query)
                wanted[one.doc.query, "validation"] = None
            if one.doc.request_body:
                wanted[one.doc.request_body, "validation"] = None
            if one.doc.response:
                wanted[one.doc.response, "serialization"] = None
        self._references, found = models_json_schema(list(wanted), ref_template="#/components/schemas/{model}")
        self._definitions: dict[str, Json] = found.get("$defs", {})
        left_out = {one.__name__ for one in queries}
        self.in_document = {name: schema for name, schema in sorted(self._definitions.items()) if name not in left_out}

    def reference(self, model: type[BaseModel], mode: _Mode) -> Json:
        return self._references[model, mode]

    def parameters(self, model: type[BaseModel]) -> list[Json]:
        """The query's parameters. A field that may also be null is described by its other type."""
        schema = self._definitions[self._references[model, "validation"]["$ref"].rpartition("/")[2]]
        found = []
        for name, given in schema["properties"].items():
            some = [one for one in given.get("anyOf", ()) if one != {"type": "null"}]
            plain = {key: value for key, value in given.items() if key not in ("title", "description", "default")}
            if some and {"type": "null"} in given["anyOf"]:
                plain.pop("anyOf")
                plain |= some[0] if len(some) == 1 else {"anyOf": some}
            if given.get("default") not in (None, ""):
                plain["default"] = given["default"]
            parameter = {"name": name, "in": "query", "schema": {k: v for k, v in plain.items() if k != "description"}}
            if about := given.get("description") or plain.get("description"):
                parameter["description"] = about
            if name in schema.get("required", ()):
                parameter["required"] = True
            found.append(parameter)
        return found


def openapi_document(resources: Iterable[Iterable[BaseRoute]], path: str, version: str) -> Json:
    """The description of the routes that are mounted at `path`."""
    operations = [
        _Operation(re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path), method, _doc_of(route, method))
        for resource in resources
        for route in resource
        if isinstance(route, Route)
        for method in sorted(route.methods or ())
        if method != "HEAD"
    ]
    schemas = _Schemas(operations)
    paths: dict[str, Json] = {}
    for one in operations:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation_object(one, schemas)
    key = {"type": "http", "scheme": "bearer", "description": "waypost api-key create NAME --scope SCOPE"}
    error = {"schema": schemas.reference(ErrorAnswer, "serialization")}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Waypost", "version": version, "description": _API_DESCRIPTION},
        "servers": [{"url": path}],
        "security": [{"key": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {"key": key},
            "responses": {"error": {"description": "Not done", "content": {"application/json": error}}},
            "schemas": schemas.in_document,
        },
    }


def _doc_of(route: Route, method: str) -> EndpointDoc:
    doc = getattr(route.endpoint, "endpoint_doc", None)
    return doc if isinstance(doc, EndpointDoc) else EndpointDoc(f"{method} {route.path}")


def _operation_object(one: _Operation, schemas: _Schemas) -> Json:
    doc = one.doc
    parameters: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": _PATH_SCHEMAS.get(name, _ANY_TEXT)}
        for name in re.findall(r"\{(\w+)\}", one.path)
    ]
    if doc.query:
        parameters += schemas.parameters(doc.query)
    success: Json = {"description": "Done"}
    if doc.media_type != "application/json":
        success["content"] = {doc.media_type: {"schema": {"type": "string"}}}
    elif doc.status != 204:
        schema = schemas.reference(doc.response, "serialization") if doc.response else {"type": "object"}
        success["content"] = {"application/json": {"schema": schema}}
    operation: Json = {
        "operationId": re.sub(r"\W+", "_", f"{one.method} {one.path}").strip("_").lower(),
        "tags": [one.path.split("/")[1]],
        "summary": doc.summary,
        "parameters": parameters,
        "security": [{"key": [scope]} for scope in required_scopes(one.method, one.path)] or [{"key": []}],
        "responses": {str(doc.status): success, "default": _ERROR_REFERENCE},
    }
    if doc.other_status:
        operation["responses"][str(doc.other_status)] = success
    if doc.request_body is not None:
        body = {"schema": schemas.reference(doc.request_body, "validation")}
        operation["requestBody"] = {"required": doc.needs_body, "content": {"application/json": body}}
    return operation
