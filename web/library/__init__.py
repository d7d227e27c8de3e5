"""Pixel and click for programs that send mail by themselves, in a site of their own.

`endpoints` what is answered, whatever the framework · `asgi` Starlette routes · `wsgi` an application · `django` URL
patterns
"""
