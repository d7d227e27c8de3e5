"""Bounce reading: replies and reports to reasons, with the labelled corpora and their figures."""
