"""The operators' pages.

`site` overview, messages, suppressions · `sign_in` accounts and the gate · `sign_in_limits` guesses · `cookies`
signed · `sessions` who is signed in · `mailbox_pages` mail as recipients see it · `mail_view` one mail, framed ·
`mail_parts` its parts · `queue_pages` what waits · `report_pages` bounces and links · `settings_pages` configuration,
keys, accounts · `pixels` stand-alone pixels · `webhooks` endpoints and their logs
"""
