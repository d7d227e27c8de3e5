"""What a fault test calls with a line for the end of the run (`conftest` prints them)."""

from collections.abc import Callable

Figure = Callable[[str], None]
