"""Webhooks: their formats, networks, order and retries, as a receiver meets them."""
