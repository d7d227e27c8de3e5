"""SMTP in: who may send, what is accepted, what is refused, and what floods do."""
