"""Operators: who may use the console and the API.

- `accounts` names and password hashes
- `roles` what accounts may do
- `console_sessions` who is signed in
- `api_keys` keys, scopes and expiry
- `audit_log` who changed what
- `idempotency` answers to repeated writes
- `bulk_actions` one action on many messages
"""
