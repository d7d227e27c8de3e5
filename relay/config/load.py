"""File and environment in; a `Config`, or every fault at once, out."""

import difflib
import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

from pydantic import ValidationError

from relay import field_faults
from relay.config import variables
from relay.config.schema import Config
from relay.operator_error import OperatorError

DEFAULT_FILE = "config.toml"
SYSTEM_FILE = Path("/etc/waypost/config.toml")
SECRETS = frozenset(
    {
        "secret",
        "old_secret",
        "password",
        "password_hash",
        "admin_password",
        "client_secret",
        "private_key",
        "url",
        "urls",
        "mailgun",
        "postmark",
        "sparkpost",
        "token",
    }
)  # keys whose values are never shown

_MAX_ROUNDS = 20

# Any: what TOML holds before the schema has judged it.
Tree = dict[str, Any]


class ConfigError(OperatorError):
    """The configuration cannot be used. `faults` has a line for each reason."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults

    @property
    def lines(self) -> list[str]:
        return self.faults


def find_file(option: str | None, environment: Mapping[str, str] = os.environ) -> Path | None:
    """The file to read: `--config`, else `$WAYPOST_CONFIG`, else `./config.toml` if it is there, else
    `/etc/waypost/config.toml` if that is, else none."""
    if option or environment.get(variables.NOT_A_KEY):
        return Path(option or environment[variables.NOT_A_KEY])
    return next((path for path in (Path(DEFAULT_FILE), SYSTEM_FILE) if path.exists()), None)


def load(path: Path | None, environment: Mapping[str, str] = os.environ) -> Config:
    """The configuration. A relative path in it is relative to the file. Raises ConfigError."""
    name = str(path) if path else "defaults"
    tree = _read_file(path) if path else {}
    from_environment = variables.apply_environment(tree, environment)
    directory = (path.parent if path else Path()).absolute()
    faults: list[str] = []
    reported: set[tuple[int | str, ...]] = set()
    config = None
    for _ in range(_MAX_ROUNDS):
        try:
            config = Config.model_validate(tree, context={"directory": directory, "file": path and path.absolute()})
            break
        except ValidationError as error:
            found = [detail for detail in error.errors() if not _is_reported(detail, reported)]
            faults += [_describe_fault(detail, name, from_environment) for detail in found]
            reported |= {detail["loc"] for detail in error.errors()}
            # While a key is at fault, its table is not checked as a whole: check again without it.
            if not _remove_faulty_keys(tree, {detail["loc"] for detail in error.errors()}):
                break
    if config is not None:
        config = _with_absolute_paths(config, directory)
        faults += [f"{name}: {fault}" for fault in _missing_files(config)]
    if faults or config is None:
        raise ConfigError(list(dict.fromkeys(faults)))
    return config


def find_readable_secrets(path: Path | None) -> list[str]:
    """Keys that hold a secret in the file itself, if everybody on this machine may read the file; else none."""
    if path is None or not path.stat().st_mode & stat.S_IROTH:
        return []
    found: list[str] = []
    waiting: list[tuple[list[str], Any]] = [([], _read_file(path))]  # Any: as TOML has it
    while waiting:
        location, value = waiting.pop()
        if isinstance(value, dict | list):
            inner = value.items() if isinstance(value, dict) else enumerate(value)
            waiting += [([*location, str(step)], one) for step, one in inner]
        elif isinstance(value, str) and _is_secret(_last_name(location), value):
            found.append(_format_location(location))
    return sorted(found)


def _last_name(location: list[str]) -> str:
    return next((step for step in reversed(location) if not step.isdecimal()), "")


def _is_secret(key: str, value: str) -> bool:
    if key == "url":
        return bool(urlsplit(value).password)
    return bool(value) and key in SECRETS and key != "password_hash"


def _is_reported(detail: Any, reported_locations: set[tuple[int | str, ...]]) -> bool:  # Any: pydantic's own shape
    """True for a key that was at fault before, and for a list that has too little without its faulty items."""
    location = detail["loc"]
    if detail["type"] == "too_short":
        return any(one[: len(location)] == location for one in reported_locations)
    return location in reported_locations


def _remove_faulty_keys(tree: Tree, locations: set[tuple[int | str, ...]]) -> bool:
    """Removes the keys at fault from the tree; where a required key is missing, its table.

    False if there is nothing to remove.
    """
    wanted = {location if _has_location(tree, location) else location[:-1] for location in locations} - {()}
    # From the end, so that numbers in a list stay right; a table's keys go with it.
    for location in sorted(wanted, key=lambda location: [str(step).zfill(6) for step in location], reverse=True):
        if not any(location[:n] in wanted for n in range(1, len(location))):
            place: Any = tree  # Any: as TOML has it
            for step in location[:-1]:
                place = place[step]
            del place[location[-1]]
    return bool(wanted)


def _has_location(place: Any, location: tuple[int | str, ...]) -> bool:  # Any: as TOML has it
    try:
        for step in location:
            place = place[step]
    except (KeyError, IndexError, TypeError):
        return False
    return True


def _missing_files(config: Config) -> list[str]:
    reported = [
        (f"[[listen]] #{n} {key}", path)
        for n, listen in enumerate(config.listen, 1)
        for key, path in (("certificate", listen.certificate), ("key", listen.key))
    ]
    reported += [(f"[[upstream]] #{n} ca_file", upstream.ca_file) for n, upstream in enumerate(config.upstream, 1)]
    return [f"{key}: no such file: {path}" for key, path in reported if path and not path.is_file()]


def _read_file(path: Path) -> Tree:
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))  # editors of Windows begin a file with a byte order mark
    except OSError as error:
        raise ConfigError([f"{path}: cannot read the configuration: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: not UTF-8 text"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{path}: not valid TOML: {error}"]) from None


def _describe_fault(
    detail: Any, name: str, from_environment: dict[tuple[str, ...], str]
) -> str:  # Any: pydantic's own shape
    location = [str(part) for part in detail["loc"]]
    is_secret = not SECRETS.isdisjoint(location)
    message = field_faults.describe_fault(detail, is_secret=is_secret)
    if detail["type"] == "extra_forbidden":
        message = f"unknown key{_suggest_key(location)}"
    elif detail["type"] == "value_error" and len(location) > 1 and not is_secret:
        message = field_faults.append_value(message, detail.get("input"))
    if variable := from_environment.get(tuple(location)):
        return f"environment: {variable}: {message}"
    return f"{name}: {_format_location(location)}: {message}" if location else f"{name}: {message}"


def _format_location(location: list[str]) -> str:
    """`("upstream", "0", "tls")` as `[[upstream]] #1 tls`."""
    out, tables = "", ""
    for n, part in enumerate(location):
        following = location[n + 1] if n + 1 < len(location) else ""
        if part.isdecimal():
            out += f" #{int(part) + 1}"
        elif following.isdecimal() and (n == 0 or n + 2 < len(location)):
            tables += f".{part}" if tables else part
            out = f"[[{tables}]]"
        elif n == 0 or (n + 1 < len(location) and not following.isdecimal()):
            tables += f".{part}" if tables else part
            out = f"[{tables}]"
        else:
            out += f" {part}"
    return out


def _suggest_key(location: list[str]) -> str:
    table: Any = Config  # Any: annotations are of many kinds
    for part in location[:-1]:
        if not part.isdecimal() and part in table.model_fields:
            annotation = table.model_fields[part].annotation
            table = (get_args(annotation) or (annotation,))[0]
    close = difflib.get_close_matches(location[-1], list(table.model_fields), n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _with_absolute_paths(config: Config, directory: Path) -> Config:
    def make_absolute(path: Path | None) -> Path | None:
        return directory / path if path else None

    return config.model_copy(
        update={
            "relay": config.relay.model_copy(update={"data_dir": directory / config.relay.data_dir}),
            "listen": [
                listen.model_copy(
                    update={"certificate": make_absolute(listen.certificate), "key": make_absolute(listen.key)}
                )
                for listen in config.listen
            ],
            "upstream": [
                upstream.model_copy(update={"ca_file": make_absolute(upstream.ca_file)}) for upstream in config.upstream
            ],
        }
    )
