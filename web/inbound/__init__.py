"""Providers' webhooks: what became of our mail, as they tell it.

`desk` the endpoints under `/in/`, from a signed body to a commit · `word` what all of them come to ·
`sendgrid` `mailgun` `postmark` `sparkpost` each its signature and its words · `ses` `sns` Amazon's ·
`certificates` whose signatures those are · `fetch` what Amazon serves
"""
