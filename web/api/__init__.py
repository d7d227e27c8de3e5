"""The JSON API under `/api/v1`.

`core` the API put together · `answers` the form of answers and bodies · `parameters` what a query may say ·
`authorization` keys and scopes · `openapi` the description · `schemas` the objects in it · `shutdown` ends what waits ·
`messages` `events` `suppressions` `queue` `reports` `statistics` `pixels` `consent` `webhooks` the resources
"""
