"""Replies and reports come in, verdicts go out: whose fault a refusal is, and what to do about it.

Pure: nothing here opens a file after import, a socket or the database.  `phrases` how a rule says what
a text must hold · `rules.toml` the rules themselves · `classify` their precedence.

`report` what a mail that came back says · `mail` its parts and texts · `mbox` several in a file · `dsn` `arf`
`auto_reply` `notification` `text` the kinds · `failure` one recipient with its verdict · `wording` and
`reports.toml` their words.
"""
