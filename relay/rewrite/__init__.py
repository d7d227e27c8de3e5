"""Rewriting: a message's octets in, a plan of edits out. Pure: no I/O, no clock, no randomness, no log.

The map, from octets to plan (DESIGN §6):

`fields` the header section as spans · `media` Content-Type and its kin · `parts` the MIME tree as spans ·
`charset` which texts may be read as ASCII · `coding` transfer encodings, read with an offset map and
written · `tags` an HTML tokenizer with spans · `witness` lxml's view of the same · `destination` an href's
value as the URL a browser asks for · `links` which links are tracked, and why the others are not ·
`text` where the URLs of a plain text end · `lines` where a line has room · `gaps` where it may end ·
`pixel` ·
`unsubscribe` · `marks` what apps leave in their text for a provider to fill in · `dialects` what an app says in
control fields · `providers` the tables of their words · `control` its wishes · `members` fields that hold JSON ·
`facts` · `body` the edits of one leaf ·
`signatures` whose key signs, and which old signatures go · `dkim` the signature itself ·
`seven` bodies of 7 bits ·
`drafts` edits with holes · `verify` the second look · `plan` the public door
"""
