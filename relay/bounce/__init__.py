"""Replies and reports come in, verdicts go out: whose fault a refusal is, and what to do about it.

- `classify` a reply by the rules of `rules.toml`
- `phrases` the language of the rules' phrases
- `reply_lines` replies as they are quoted in text
- `report` a mail that comes back
- `dsn` RFC 3464
- `arf` complaints
- `ses_notification` Amazon's JSON
- `prose_report` notices for people
- `word_lists` the words of such notices, from `reports.toml`
- `auto_reply` vacation notices
- `recipient_report` what a report says of one recipient
- `lenient_mime` a mail as far as it can be read
- `mbox` many mails in one file
"""
