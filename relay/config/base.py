"""What every table of `config.toml` is."""

from pydantic import BaseModel, ConfigDict, SecretStr

NO_SECRET = SecretStr("")


class ConfigTable(BaseModel):
    """A table: frozen, and closed to keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, validate_default=False)
