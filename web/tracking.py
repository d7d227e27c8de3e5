"""The entry point for Python programs that send mail by themselves: Starlette routes for their pixels and links.

from web.tracking import routes
"""

from web.library.asgi import routes

__all__ = ["routes"]
