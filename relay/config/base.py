"""The base of every table of `config.toml`."""

from pydantic import BaseModel, ConfigDict, SecretStr

NO_SECRET = SecretStr("")


class ConfigTable(BaseModel):
    """A table. It is frozen, and unknown keys in it are faults.

    The default of a table within a table is `model_construct()`: for `Table()` a validator of it alone would be built.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        validate_default=False,
        defer_build=True,  # what validates a table is built once, within that of all tables
    )
