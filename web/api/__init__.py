"""The JSON API under `/api/v1`.

`core` the form of answers · `authorization` keys and scopes · `pixels` `consent` `webhooks` the resources · `openapi`
the description
"""
