"""Operators: who may look, and with what.

`accounts` names and password hashes · `console_sessions` who is signed in · `api_keys` keys, scopes and expiry
"""
