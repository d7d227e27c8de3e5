"""docs/keys.md: every key of the configuration, from the models and the comments of config.toml.

python -m tests.documents.config_reference        writes the page; a test compares it
"""

import re
from collections.abc import Iterator
from datetime import timedelta
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BeforeValidator, SecretStr
from pydantic.fields import FieldInfo

from relay.config import values
from relay.config.base import ConfigTable
from relay.config.schema import Config
from tests.waypost_server import ROOT

PAGE = ROOT / "docs/keys.md"
_HEAD = """\
# Every key

What [config.toml](../config.toml) may say, made from the program's own models by
`python -m tests.documents.config_reference`. [Configuration](configuration.md) explains the choices.

A variable `WAYPOST_TABLE__KEY` overrides a key; secrets may be
`{ env = "NAME" }` or `{ file = "PATH" }`. Durations: `"30s"` `"5m"` `"1h"` `"400d"`. Sizes: `"512KB"` `"25MB"`.
"""
_KINDS = {
    values.read_duration: "duration",
    values.read_size: "size",
    values.read_secret: "secret",
    values.read_file_secret: "secret",
    values.read_host_port: "HOST:PORT",
    values.read_optional_host_port: "HOST:PORT or empty",
    values.read_url: "URL",
    values.read_webhook_url: "URL",
    values.read_rate: "rate",
    values.read_private_key: "PEM",
    values.read_network: "network",
}
_TABLE = re.compile(r"(?:# ?)?\[{1,2}([a-z._]+)\]{1,2}\s*(?:#\s(.*))?")
_KEY = re.compile(r"(?:# ?)?([a-z_0-9]+)\s*=\s(.+?)(?:\s+#\s(.*))?")
_MORE = re.compile(r"#?\s{8,}#\s+(.*)")


class _Comment(NamedTuple):
    table: str
    key: str  # "": of the table itself


def _read_comments() -> dict[_Comment, str]:
    found: dict[_Comment, str] = {}
    at = _Comment("", "")
    for line in (ROOT / "config.toml").read_text("utf-8").splitlines():
        if (more := _MORE.fullmatch(line)) and at.table:
            found[at] = f"{found.get(at, '')} {more[1]}".strip()
        elif table := _TABLE.fullmatch(line):
            at = _Comment(table[1], "")
            found[at] = table[2] or ""
        elif key := _KEY.fullmatch(line):
            at = _Comment(at.table, key[1])
            found[at] = key[3] or ""
        else:
            at = _Comment(at.table, "-")
    return found


def _tables(
    model: type[ConfigTable], name: str = "", is_list: bool = False
) -> Iterator[tuple[str, bool, type[ConfigTable]]]:
    if name:
        yield name, is_list, model
    for key, field in model.model_fields.items():
        inner = _table_of(field.annotation)
        if inner is not None:
            yield from _tables(inner, f"{name}.{key}" if name else key, get_origin(field.annotation) is list)


def _table_of(annotation: Any) -> type[ConfigTable] | None:  # Any: annotations are of many kinds
    one = (get_args(annotation) or (annotation,))[0]
    return one if isinstance(one, type) and issubclass(one, ConfigTable) else None


def _kind(annotation: Any, metadata: list[Any]) -> str:  # Any: as above
    for one in metadata if annotation is not bool else ():
        if isinstance(one, BeforeValidator):
            return _KINDS.get(one.func, "text")
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0], list(arguments[1:]))
    if origin is Literal:
        return " ".join(f"`{word}`" for word in arguments if word)
    if origin is list:
        return f"list of {_kind(arguments[0], [])}"
    if origin in (Union, UnionType):
        return " or ".join(_kind(one, []) or "empty" for one in arguments if one is not NoneType)
    return {bool: "true, false", int: "number", float: "number"}.get(annotation, "text")


def _default(field: FieldInfo) -> str:
    return "required" if field.is_required() else f"`{_toml(field.get_default(call_default_factory=True))}`"


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case timedelta():
            return f'"{_duration(value)}"'
        case SecretStr():
            return '""'
        case None:
            return '""'
        case list():
            return f"[{', '.join(map(_toml, value))}]"
        case int() if value >= 1 << 20 and value % (1 << 20) == 0:
            return f'"{value >> 30}GB"' if value % (1 << 30) == 0 else f'"{value >> 20}MB"'
        case int() | float():
            return f"{value:g}"
        case Enum():
            return f'"{value.value}"'
    return f'"{value}"'


def _duration(value: timedelta) -> str:
    for unit, seconds in (("d", 86_400), ("h", 3600), ("m", 60)):
        if value and value.total_seconds() % seconds == 0:
            return f"{value.total_seconds() / seconds:g}{unit}"
    return f"{value.total_seconds():g}s"


def make_page() -> str:
    comments = _read_comments()
    parts = [_HEAD]
    for name, is_list, model in _tables(Config):
        brackets = f"[[{name}]]" if is_list else f"[{name}]"
        keys = {key: field for key, field in model.model_fields.items() if _table_of(field.annotation) is None}
        if not keys:
            continue
        parts.append(f"\n## {brackets}\n")
        if about := comments.get(_Comment(name, ""), ""):
            parts.append(f"\n{_escape(about)}\n")
        parts.append("\n| key | kind | default | meaning |\n|---|---|---|---|\n")
        for key, field in keys.items():
            about = _escape(comments.get(_Comment(name, key), ""))
            parts.append(f"| `{key}` | {_kind(field.annotation, field.metadata)} | {_default(field)} | {about} |\n")
    return "".join(parts)


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("[[", "\\[[").replace("{", "&#123;")


if __name__ == "__main__":
    PAGE.write_text(make_page(), "utf-8")
