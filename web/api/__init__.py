"""The JSON API under `/api/v1`.

- `core` the API put together
- `answers` the form of answers and bodies
- `parameters` what a query may say
- `authorization` keys and scopes
- `idempotency` writes that are repeated with one key
- `openapi` the description of the API
- `schemas` the objects of answers, with `message_schemas` and `webhook_schemas`
- `resources` all of them: `messages` `message_actions` `message_content` `events` `event_stream` `suppressions` `queue`
  `reports` `statistics` `health` `pixels` `consent` `webhooks` `keys` `audit` `refusals`
"""
