"""Webhooks: their formats, networks, order and retries, as a receiver meets them.

- `test_webhooks` order, signatures, retries
- `test_webhook_formats` the formats of Postmark, SendGrid and Mailgun, read by django-anymail
- `test_webhook_networks` which addresses a webhook may have
- `test_webhook_payloads` events from acceptance to click
- `webhook_scene` a store with webhooks, and a clock
"""
