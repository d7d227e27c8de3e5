"""Rewriting: a message's octets in, a plan of edits out. Pure: no I/O, no clock, no randomness, no log.

From octets to plan, in this order:

- `plan` the entry: from octets to the plan of edits
- `instructions` the app's instructions: tags, stream, tracking
- `control_fields` finds and removes the header fields that have them
- `provider_dialects` how each field is read, ours and providers'
- `instrument` the edits of all text parts: links, pixel, placeholders
- `text_part` a text part, decoded
- `html_tokenizer` tags with their spans
- `html_attributes` the attributes of a tag
- `lxml_check` whether another HTML parser finds the same links
- `anchors` the links of an HTML text
- `links` which links are tracked
- `link_url` from an href to a URL
- `plain_text_links` URLs in text/plain
- `placeholders` unsubscribe links that apps leave to a provider
- `pixel` the open pixel and its place
- `unsubscribe` the fields List-Unsubscribe and List-Unsubscribe-Post
- `line_length` lines of at most 998 octets
- `line_breaks` where a line of HTML may end
- `edit_templates` edits with holes, as data
- `verify` checks the plan before it is used
- `signing_policy` whose key signs, and which signatures stay
- `dkim` makes DKIM signatures
- `seven_bit_conversion` the message for servers without 8BITMIME
- `mailboxes` the addresses in From and other fields
- `display_fields` subject and author as the console shows them
- `json_patch` changes members of a JSON field
"""
