"""Waypost's web side: what recipients meet, and what operators look at.

`app` the two applications · `tracking` pixel and click · `answers` what they are answered ·
`embedded` the same for other programs' sites · `unsubscribe` the page that asks, and one-click ·
`visitors` who is asking: a person, a proxy or a machine · `console` the operator's pages · `auth` who may see
them · `api` the same for programs, behind `api_gate` · `pixels` stand-alone ones · `inbound` what providers tell us ·
`letters` and `mailbox` a delivery as its recipient sees it · `pages` templates to answers · `guard` no
exception, and no answer without its headers, leaves · `protocol` the bounds of a connection · `connections` how many ·
`listener` how fast they come.

It knows the relay's words, `rewrite`, `bounce` and `store`, never the mail side: links answer while that restarts.
"""
