"""The paths that the JSON API answers. The API has a gate of its own, which asks for keys."""

PATH = "/api/v1"
DESCRIPTION = "/api/openapi.json"


def is_api_path(path: str) -> bool:
    """True for a path that the API answers, by its own rules."""
    return path == PATH or path.startswith(f"{PATH}/")
