"""MIME messages as spans of octets: nothing is decoded or copied until somebody asks.

- `fields` a header section
- `content_type` the values of its MIME fields
- `parts` the tree of body parts
- `transfer_encoding` base64 and quoted-printable with an offset map
- `charset` which texts read as ASCII
- `charset_names` the charsets that mail may name
- `encoded_words` field values as text
- `line_ends` CRLF only
"""
