"""Webhooks of providers: their events about our mail.

- `endpoint` the routes under `/in/`, from a signed body to a commit
- `provider_event` an event of any provider
- `provider_report` from a provider event to a late report
- `sendgrid` `mailgun` `postmark` `sparkpost` each provider's signature and format
- `ses` `sns` the same of Amazon
- `certificates` the certificates with which Amazon signs
- `fetch` requests to Amazon
"""
