"""The operators' pages.

`site` routes and frame · `overview` what became of the mail of a `time_range` · `attention` what needs somebody ·
`message_pages` messages · `message_export` as CSV and JSON · `delivery_states` states in words · `suppression_pages`
who gets no mail · `queue_pages` what waits · `upstream_pages` upstreams · `machine_view` clock and certificates ·
`report_pages` bounces and links · `settings_pages` configuration, keys, accounts · `audit_pages` who changed what ·
`sign_in` accounts and the gate · `sign_in_limits` guesses · `oidc` sign-in by an OpenID provider · `proxy_auth` by a
proxy · `permissions` which role a route needs · `cookies` signed · `sessions` who is signed in · `mailbox_pages` mail
as recipients see it · `mail_view` one mail, framed · `mail_parts` its parts · `pixels` stand-alone pixels · `webhooks`
endpoints and logs · `refusal_pages` what was refused at our door · `live_pages` a list that follows what happens ·
`html_comparison` what was changed in its HTML · `user_agents` browsers in words · `suppression_lists` many
suppressions at once
"""
