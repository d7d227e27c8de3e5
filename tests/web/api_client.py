"""A client of the API that holds every answer against the API's own description."""

from datetime import UTC, datetime
from typing import Any

import httpx
from jsonschema_rs import Draft202012Validator

from relay.store.console import api_keys
from tests.web.scene import Scene

Json = dict[str, Any]  # Any: what JSON can hold


class ApiClient:
    """Asks with a key of its own that may do what `scopes` say."""

    def __init__(self, scene: Scene, *scopes: str, name: str = "tests") -> None:
        scene.write(lambda connection: api_keys.revoke_key(connection, name))
        key = scene.write(lambda connection: api_keys.create_key(connection, name, datetime.now(UTC), scopes or ("*",)))
        headers = {"authorization": f"Bearer {key}"}
        self.http = httpx.Client(base_url=f"{scene.console}/api/v1", headers=headers)
        self.document: Json = httpx.get(f"{scene.console}/api/openapi.json").json()

    def __enter__(self) -> "ApiClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def ask(self, method: str, path: str, status: int = 200, **more: Any) -> Json:
        """The answer's object; a 204 has none. The path is that of the description, with its values filled in."""
        answer = self.http.request(method, path, **more)
        assert answer.status_code == status, answer.text
        assert answer.headers.get("cache-control") == "no-store" or status == 204
        if status == 204:
            assert not answer.content
            return {}
        found: Json = answer.json()
        self._check(method, answer.request.url.path.removeprefix("/api/v1"), status, found)
        return found

    def get(self, path: str, **query: Any) -> Json:
        return self.ask("GET", path, params=query)

    def items(self, path: str, **query: Any) -> list[Json]:
        found: list[Json] = self.get(path, **query)["items"]
        return found

    def pages(self, path: str, **query: Any) -> list[Json]:
        """The items of all pages."""
        found: list[Json] = []
        cursor: Json = {}
        while True:
            page = self.get(path, **query, **cursor)
            found += page["items"]
            if page["next"] is None:
                return found
            cursor = {"cursor": page["next"]}

    def refusal(self, method: str, path: str, status: int, **more: Any) -> str:
        """The message of an error."""
        return str(self.ask(method, path, status, **more)["error"]["message"])

    def _check(self, method: str, path: str, status: int, answer: Json) -> None:
        paths = [one for one in self.document["paths"] if _fits(one, path)]
        # A path without a parameter is meant before one with.
        operation = (
            self.document["paths"][min(paths, key=lambda one: one.count("{"))].get(method.lower()) if paths else None
        )
        responses = operation["responses"] if operation else {}
        response = responses.get(str(status), self.document["components"]["responses"]["error"])
        schema = response["content"]["application/json"]["schema"]
        Draft202012Validator(schema | {"components": self.document["components"]}).validate(answer)


def _fits(described: str, path: str) -> bool:
    mine, theirs = described.split("/"), path.split("/")
    return len(mine) == len(theirs) and all(a == b or a.startswith("{") for a, b in zip(mine, theirs, strict=True))
