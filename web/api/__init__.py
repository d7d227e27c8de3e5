"""The JSON API under `/api/v1`.

`core` the API put together · `answers` the form of answers and bodies · `parameters` what a query may say ·
`authorization` keys and scopes · `idempotency` repeated writes · `openapi` the description · `schemas` the objects in
it, with `message_schemas` and `webhook_schemas` · `shutdown` ends what waits · `resources` all of them: `messages`
`message_actions` `message_content` `events` `event_stream` `suppressions` `queue` `reports` `statistics` `health`
`pixels` `consent` `webhooks` `keys` `audit` `refusals`
"""
