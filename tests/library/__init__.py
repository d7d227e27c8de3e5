"""`relay.tracking`, and the sites that use it: ASGI, WSGI, Django.

- `test_library` links, metadata and routes of a program that sends by itself
- `test_library_sites` its own site, and what its hooks and webhooks get
"""
