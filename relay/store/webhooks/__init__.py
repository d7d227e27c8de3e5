"""Webhooks: which endpoints there are, and what each is still to be sent.

`endpoints` of the configuration and of the database · `outbox` events as they are written, with what is due for them
"""
