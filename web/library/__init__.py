"""Pixel and click for programs that send mail by themselves, as part of their own site.

- `endpoints` the answers, without a framework
- `asgi` Starlette routes
- `wsgi` an application
- `django` URL patterns
"""
