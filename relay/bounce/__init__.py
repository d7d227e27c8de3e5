"""Replies (and later reports) come in, verdicts go out: whose fault a refusal is, and what to do about it.

Pure: nothing here opens a file after import, a socket or the database.  `phrases` how a rule says what
a text must hold · `rules.toml` the rules themselves · `classify` their precedence.
"""
