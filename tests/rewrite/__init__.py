"""Rewriting: octets in, plans and octets out, against the corpora and an oracle."""
