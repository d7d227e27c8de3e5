"""Waypost's web side: pages and links for recipients, console and API for operators.

- `app` the applications, as lists of routes
- `public/` tracking and unsubscribe pages
- `inbound/` providers' webhooks
- `console/` the operators' pages
- `api/` the JSON API
- `library/` pixel and links for programs that send by themselves
- `tracking` the entry of the library
- `server/` HTTP with bounds
- `middleware` safe headers and errors
- `rendering` templates
- `translations` what recipients read, from `translations.toml`
- `metrics` for Prometheus
- `sent_mail` a mail as its recipient got it
- `mail_view` what a mail program shows of it
- `mail_parts` its parts
- `visitors` who is asking
- `audited` changes, with their entries in the audit log
- `webhook_changes` those of webhooks
- `event_feed` events as they are committed
- `field_errors` what is wrong with the fields of a body
- `api_paths` the paths that the API answers
- `responses` a pixel, a redirect
- `shutdown` ends requests that wait
"""
