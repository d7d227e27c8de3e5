"""Header sections, encoded words and line ends, as `relay/mime` reads them.

- `test_header` header sections of real senders, and far too large ones
- `test_encoded_words` encoded words as programs write them
- `test_line_ends` lone CRs and LFs, whatever stands where
"""
