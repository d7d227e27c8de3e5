"""The API's own description, made of the routes that are there.  OpenAPI 3.1.

In: routes, whose endpoints may carry what `says` gave them.  Out: one JSON object. A route that says nothing of itself
is listed all the same, by its path and methods.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel
from starlette.routing import BaseRoute, Route

from web.api.authorization import wanted_scopes

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])  # Any: Starlette's endpoints
Json = dict[str, Any]  # Any: what JSON can hold

PAGED = {"limit": "items of the answer, 1 to 500", "cursor": "the `next` of the page before"}
_ERROR = {"$ref": "#/components/responses/error"}


class Saying(NamedTuple):
    """What an endpoint says of itself."""

    summary: str
    takes: type[BaseModel] | None = None
    query: Mapping[str, str] = {}
    status: int = 200


def says(
    summary: str, takes: type[BaseModel] | None = None, query: Mapping[str, str] | None = None, status: int = 200
) -> Callable[[Endpoint], Endpoint]:
    """Of an endpoint: what it does, its body, its query by name with a sentence each, and the status of success."""

    def said(endpoint: Endpoint) -> Endpoint:
        vars(endpoint)["saying"] = Saying(summary, takes, query or {}, status)
        return endpoint

    return said


def document(resources: Iterable[Iterable[BaseRoute]], path: str, version: str) -> Json:
    """The description of the routes that are mounted at `path`."""
    paths: dict[str, Json] = {}
    for resource in resources:
        for route in resource:
            if not isinstance(route, Route):
                continue
            plain = re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path)
            for method in sorted(route.methods or ()):
                if method != "HEAD":
                    paths.setdefault(plain, {})[method.lower()] = _operation(route, plain, method)
    key = {"type": "http", "scheme": "bearer", "description": "waypost api-key create NAME --scope SCOPE"}
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in ("code", "message")}}
    error = {"type": "object", "properties": {"error": schema}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Waypost", "version": version},
        "servers": [{"url": path}],
        "security": [{"key": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {"key": key},
            "responses": {"error": {"description": "Not done", "content": {"application/json": {"schema": error}}}},
        },
    }


def _operation(route: Route, path: str, method: str) -> Json:
    saying: Saying = getattr(route.endpoint, "saying", Saying(f"{method} {path}"))
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", path)
    ] + [
        {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
        for name, text in saying.query.items()
    ]
    success: Json = {"description": "Done"}
    if saying.status != 204:
        success["content"] = {"application/json": {"schema": {"type": "object"}}}
    operation: Json = {
        "operationId": re.sub(r"\W+", "_", f"{method} {path}").strip("_").lower(),
        "tags": [path.split("/")[1]],
        "summary": saying.summary,
        "parameters": parameters,
        "security": [{"key": [scope]} for scope in wanted_scopes(method, path)] or [{"key": []}],
        "responses": {str(saying.status): success, "default": _ERROR},
    }
    if saying.takes is not None:
        schema = saying.takes.model_json_schema()
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation
