"""Waypost's web side: what recipients meet, and what operators look at.

`app` the applications, as lists of routes · `public/` tracking and unsubscribe pages · `inbound/` providers' webhooks
· `console/` the operators' pages · `api/` the JSON API · `library/` the same links for programs that send by
themselves · `tracking` its entry · `server/` HTTP with bounds · `middleware` safe headers and errors · `rendering`
templates · `translations` what recipients read, from `translations.toml` · `metrics` for Prometheus · `sent_mail` a
mail as its recipient got it · `visitors` who is asking ·
`audited` changes, with their entries in the audit log
"""
