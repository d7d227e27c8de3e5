"""`relay.tracking`, and the sites that use it: ASGI, WSGI, Django."""
