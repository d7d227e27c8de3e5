"""Tests that go through the doors: SMTP in, a scripted SMTP server behind, HTTP on the links that arrived."""
