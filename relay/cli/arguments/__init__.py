"""What may be typed after `waypost`: one function for each command, which fills its parser.

`serving` serve, check, demo · `mail` instrument, classify, token · `history` messages, events, stats, queue ·
`recipients` suppressions, person, pixel, webhooks · `installation` keys, user, api-key

Nothing here reads a configuration or a database: a help and a completion are made of these modules alone.
"""
