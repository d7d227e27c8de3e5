"""Providers' webhooks: what became of our mail, as they say it.

`endpoint` the routes under `/in/`, from a signed body to a commit · `provider_event` what all of them come to ·
`sendgrid` `mailgun` `postmark` `sparkpost` each its signature and its words · `ses` `sns` Amazon's · `certificates`
whose signatures those are · `fetch` what Amazon serves
"""
