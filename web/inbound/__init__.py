"""Webhooks of providers: their events about our mail.

`endpoint` the routes under `/in/`, from a signed body to a commit · `provider_event` an event of any provider ·
`provider_report` the late report that it becomes · `sendgrid` `mailgun` `postmark` `sparkpost` each provider's
signature and format · `ses` `sns` Amazon's · `certificates` who signed those · `fetch` what Amazon serves
"""
