"""Values that every package uses: addresses, ids, tokens, edits, kinds of events."""
