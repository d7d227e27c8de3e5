"""What is kept: messages, deliveries, attempts, events, suppressions, accounts.

`tables` the rows · `engine` SQLite or PostgreSQL, opened · `writer` the one thread that commits ·
`store` both behind one door · `migrate` and `migrations/` the schema's history · `queue` what is to be
delivered and what became of it · `events` opens, clicks, unsubscribes · `suppressions` whom not to write to ·
`consent` who is tracked · `people` what they are called here · `veil` facts as privacy lets them be kept ·
`strikes` soft failures that count when they come again · `lists` suppressions as CSV ·
`returns` what is told of a delivery later ·
`reports` lists for the console · `story` one message · `totals` counts over time · `objects` rows as JSON ·
`person` all about one address · `pixels` stand-alone ones with their log · `accounts` who may look ·
`retention` what has expired · `journal` facts that could not be committed yet.

Functions take a session (an open transaction) and never open or commit one.
"""
