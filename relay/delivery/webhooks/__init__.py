"""Events sent to webhooks.

- `sender` at least once, in order for each message
- `client` sends one request
- `request` its response, and when it is sent again
- `payload` what is sent, by format: our own, `postmark`, `sendgrid`, `mailgun`
- `smtp_reply` a reply's text taken apart for these formats
"""
