"""The configuration: `config.toml`, the environment over it, defaults under it.

`values` durations, sizes, addresses, secrets · `schema` the tables · `load` file and environment in,
a `Config` or every fault at once out.
"""
