"""Rewriting: a message's octets in, a plan of edits out. Pure: no I/O, no clock, no randomness, no log.

From octets to plan: `plan` the entry · `instructions` what the app asks for · `control_fields` where it asks ·
`provider_dialects` in whose words · `instrument` the edits of the text parts · `text_part` a part, decoded ·
`html_tokenizer` tags with their spans · `html_attributes` of a tag · `lxml_check` the second opinion · `anchors` the
links of an HTML text · `links` which are tracked · `link_url` from href to URL · `plain_text_links` URLs in text/plain
· `placeholders` unsubscribe links that apps leave to a provider · `pixel` the open pixel · `unsubscribe`
List-Unsubscribe · `line_length` the 998-octet rule · `line_breaks` where a line may end · `edit_templates` edits with
holes, as data · `verify` the second look · `signing_policy` which signatures · `dkim` signing · `seven_bit_conversion`
for servers without 8BITMIME · `mailboxes` address fields · `display_fields` for the console · `json_patch` members of a
JSON field
"""
