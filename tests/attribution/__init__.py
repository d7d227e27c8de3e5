"""Tests of who is told from whom."""
