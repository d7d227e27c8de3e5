"""Pixel and click for programs that send mail by themselves, in a site of their own.

`endpoints` a request in, an answer and an event out · `asgi` Starlette's routes · `wsgi` an application for any WSGI
server · `django` URL patterns. The answer never waits for the program's hooks, nor depends on them.
"""
