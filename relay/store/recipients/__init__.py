"""What is known about recipients, apart from messages.

`suppressions` who gets no mail · `suppression_csv` the list as a file · `repeated_failures` soft failures that count
when they come again · `consent` who is tracked · `recipient_filter` both for messages · `stream_preferences` which
streams recipients want
"""
