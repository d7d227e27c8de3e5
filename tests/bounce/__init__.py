"""Bounce reading: replies and reports to reasons, with the labelled corpora and their figures.

- `test_classify` the verdict on a live reply, rule by rule
- `test_classify_lines` from a pasted line to a reply, and from its text to words
- `test_score` the labelled replies, and how well they must be judged
- `test_reports` DSNs, complaints and automatic replies
- `test_reports_texts` which mail is a bounce, and whom its text names
- `test_reports_public` real bounce mails of flufl.bounce, where they were fetched
- `test_reports_hostile` reports that are made to break or to slow the reader
- `test_reports_cli` `waypost classify --mail`
- `test_notification` Amazon's notifications by mail
- `dsn` a DSN with two recipients, as Postfix writes it
"""
