"""The arguments of each command: one function for each command, which fills its parser.

- `serving` to start: serve, check, doctor, config, demo, completion
- `mail` what a mail, a reply or a URL means: instrument, classify, token
- `history` what became of mail: messages, events, stats, queue
- `recipients` what is listed and changed: suppressions, person, pixel, webhooks
- `installation` keys, user, alerts, api-key, backup, restore
- `lists` what the arguments of lists have in common
- `parser` reads arguments, with suggestions and help · `argument_types` the types of their values

Nothing here reads a configuration or a database: helps and completions need these modules only.
"""
