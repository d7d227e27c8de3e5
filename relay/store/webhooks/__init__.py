"""Webhooks: which endpoints there are, and what each is still to be sent.

- `endpoints` of the configuration and of the database
- `webhook_queue` the requests that are still to be sent
"""
