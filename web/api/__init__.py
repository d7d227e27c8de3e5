"""The JSON API under `/api/v1`.

`core` the form of answers, and the small resources · `authorization` keys and scopes · `webhooks` their resource ·
`openapi` the description
"""
