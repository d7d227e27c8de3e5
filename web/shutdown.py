"""Whether the server is to stop: requests that wait end then, so that it need not wait for them."""

from starlette.requests import Request

STATE_KEY = "is_stopping"  # of the state that `web.server.protocol.Server` gives to each request


def is_stopping(request: Request) -> bool:
    """True once the server is stopping."""
    check = request.scope.get("state", {}).get(STATE_KEY)
    return bool(check and check())
