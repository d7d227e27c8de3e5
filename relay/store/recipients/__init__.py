"""What is known about recipients, apart from messages.

- `suppressions` who gets no mail
- `suppression_csv` suppressions as a CSV file
- `repeated_failures` soft failures that count when they come again
- `consent` who is tracked
- `recipient_filter` suppressions and consent of a message's recipients
- `stream_preferences` which streams recipients want
"""
