"""A configuration as a list: each key with its value and the origin of the value, without secrets.

In: a Config, and the environment that it was loaded with.  Out: tables with their settings, in the schema's order.
"""

import os
from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from relay.config import load, variables
from relay.config.base import ConfigTable
from relay.config.schema import Config
from relay.config.values import FileSecret, read_rate, read_size, without_userinfo

FILE, DEFAULT = "file", "default"
_HIDDEN = "set, not shown"
_UNITS = (("d", 86_400.0), ("h", 3600.0), ("m", 60.0), ("s", 1.0), ("ms", 0.001))
_SIZES = (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10), ("", 1))


class Setting(NamedTuple):
    """A key and its value. `origin`: "file", "default", or the environment variable that gave it."""

    key: str
    value: str
    origin: str


class SettingsTable(NamedTuple):
    """A table of the configuration; `name` as it stands in the file."""

    name: str
    settings: list[Setting]


def list_settings(config: Config, environment: Mapping[str, str] = os.environ) -> list[SettingsTable]:
    """All tables. Of a secret, it shows only whether it is set."""
    return [one for name in Config.model_fields for one in _tables(name, getattr(config, name), environment)]


def _tables(
    name: str,
    value: Any,  # Any: a table or a list
    environment: Mapping[str, str],
    outer: tuple[str, ...] = (variables.PREFIX,),
) -> Iterator[SettingsTable]:
    """The table or tables, and those within. `outer`: how variables of the table around it begin."""
    beginnings = tuple(f"{one}{name.rpartition('.')[2]}__".upper() for one in outer)
    many = value if isinstance(value, list) else [value]
    for number, table in enumerate(many, 1):
        title = f"[[{name}]] #{number}" if isinstance(value, list) else f"[{name}]"
        numbered = tuple(f"{one}{number}__" for one in beginnings) if isinstance(value, list) else ()
        own = numbered + (beginnings if number == 1 else ())
        inner: list[tuple[str, Any]] = []
        settings = []
        for key, field in type(table).model_fields.items():
            one = getattr(table, key)
            if isinstance(one, ConfigTable) or (isinstance(one, list) and one and isinstance(one[0], ConfigTable)):
                inner.append((f"{name}.{key}", one))
                continue
            # What a file leaves out is None too, and has been set by loading.
            is_set = key in table.model_fields_set and one is not None and not _is_default_path(one, field.default)
            names = [f"{one}{key}{ending}".upper() for one in own for ending in ("", "_FILE")]
            given = next((each for each in names if each in environment), "")
            settings.append(Setting(key, _format_field(key, one, field), given or (FILE if is_set else DEFAULT)))
        if settings:
            yield SettingsTable(title, settings)
        for inner_name, one in inner:
            yield from _tables(inner_name, one, environment, own)


def _is_default_path(value: object, default: object) -> bool:
    """True for the default of a path, which loading made absolute."""
    return isinstance(value, Path) and isinstance(default, Path) and value.parts[-len(default.parts) :] == default.parts


def _format_field(key: str, value: Any, field: FieldInfo) -> str:  # Any: as below
    """As it is written in the file: sizes and rates with their units."""
    if any(getattr(one, "func", None) is read_size for one in field.metadata):
        return _format_size(value)
    if any(getattr(one, "func", None) is read_rate for one in field.metadata):
        return f"{value:g}/s" if value else ""
    return _format_setting(key, value)


def _format_size(value: int) -> str:
    unit, octets = next((unit, octets) for unit, octets in _SIZES if value % octets == 0 and (value or octets == 1))
    return f"{value // octets}{unit}"


def _format_setting(key: str, value: Any) -> str:  # Any: of each kind that a key may have
    if isinstance(value, SecretStr):
        return _HIDDEN if value.get_secret_value() else ""
    if isinstance(value, FileSecret):
        return _HIDDEN
    if key == "url" and isinstance(value, str):
        return without_userinfo(value)
    if key in load.SECRETS and not isinstance(value, list):
        return _HIDDEN if value else ""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, timedelta):
        return _format_duration(value)
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return ", ".join(_format_setting(key, one) for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} = {_format_setting(name, one)}" for name, one in value.items())
    return str(value)


def _format_duration(value: timedelta) -> str:
    """As it is written in the file: `1h30m`."""
    left, out = value.total_seconds(), ""
    for unit, size_s in _UNITS:
        count = int((left + 1e-9) // size_s)
        left -= count * size_s
        out += f"{count}{unit}" if count else ""
    return out or "0"
