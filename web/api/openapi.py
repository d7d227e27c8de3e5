"""The API's own description, made of the routes that are there.  OpenAPI 3.1.

In: routes, whose endpoints may carry the description that `documented` gave them.  Out: one JSON object. A route
without a description is listed all the same, by its path and methods.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel
from starlette.routing import BaseRoute, Route

from web.api.authorization import required_scopes

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])  # Any: Starlette's endpoints
Json = dict[str, Any]  # Any: what JSON can hold

PAGE_PARAMETERS = {"limit": "items of the answer, 1 to 500", "cursor": "the `next` of the page before"}
_ERROR_REFERENCE = {"$ref": "#/components/responses/error"}


class EndpointDoc(NamedTuple):
    """The description of an endpoint."""

    summary: str
    request_body: type[BaseModel] | None = None
    query: Mapping[str, str] = {}
    status: int = 200


def documented(
    summary: str, request_body: type[BaseModel] | None = None, query: Mapping[str, str] | None = None, status: int = 200
) -> Callable[[Endpoint], Endpoint]:
    """Describes an endpoint: what it does, its body, its query parameters, its status on success."""

    def decorate(endpoint: Endpoint) -> Endpoint:
        vars(endpoint)["endpoint_doc"] = EndpointDoc(summary, request_body, query or {}, status)
        return endpoint

    return decorate


def openapi_document(resources: Iterable[Iterable[BaseRoute]], path: str, version: str) -> Json:
    """The description of the routes that are mounted at `path`."""
    paths: dict[str, Json] = {}
    for resource in resources:
        for route in resource:
            if not isinstance(route, Route):
                continue
            plain = re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path)
            for method in sorted(route.methods or ()):
                if method != "HEAD":
                    paths.setdefault(plain, {})[method.lower()] = _operation_object(route, plain, method)
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


def _operation_object(route: Route, path: str, method: str) -> Json:
    doc: EndpointDoc = getattr(route.endpoint, "endpoint_doc", EndpointDoc(f"{method} {path}"))
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", path)
    ] + [
        {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
        for name, text in doc.query.items()
    ]
    success: Json = {"description": "Done"}
    if doc.status != 204:
        success["content"] = {"application/json": {"schema": {"type": "object"}}}
    operation: Json = {
        "operationId": re.sub(r"\W+", "_", f"{method} {path}").strip("_").lower(),
        "tags": [path.split("/")[1]],
        "summary": doc.summary,
        "parameters": parameters,
        "security": [{"key": [scope]} for scope in required_scopes(method, path)] or [{"key": []}],
        "responses": {str(doc.status): success, "default": _ERROR_REFERENCE},
    }
    if doc.request_body is not None:
        schema = doc.request_body.model_json_schema()
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation
