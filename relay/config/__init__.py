"""The configuration: `config.toml`, the environment over it, defaults under it.

- `load` file and environment in, a Config or all faults out
- `variables` the environment's part of it
- `schema` all other tables
- `smtp` the tables of mail in and out
- `webhook` the table of webhooks
- `unsubscribe` that of unsubscribing
- `sign_in` those of signing in to the console
- `base` what all tables share
- `values` durations, sizes, networks, secrets
- `settings_list` all keys with their values

`template.toml` is the repository's `config.toml`, which a wheel carries too.
"""
