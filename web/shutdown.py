"""Whether the server is to stop: then requests that wait for something end at once."""

from starlette.requests import Request

STATE_KEY = "is_stopping"  # of the state that `web.server.protocol.Server` gives to each request


def is_stopping(request: Request) -> bool:
    """True once the server is stopping."""
    check = request.scope.get("state", {}).get(STATE_KEY)
    return bool(check and check())
