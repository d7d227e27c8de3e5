"""The environment's part of the configuration: `WAYPOST_TABLE__KEY` variables.

In: the tree of the file, and the environment.  Out: the tree with the values of the variables in it.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from relay.config.schema import Config

PREFIX = "WAYPOST_"
NOT_A_KEY = "WAYPOST_CONFIG"
_FILE_ENDING = "_file"
_IS_NUMBER = re.compile("[1-9][0-9]?").fullmatch  # of a table in its list
_FLAGS = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)

# Any: what TOML holds before the schema has judged it.
Tree = dict[str, Any]
Location = tuple[str | int, ...]  # names of tables and keys; a number, from 0, of a table in its list


def find_ignored_variables(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Variables that begin like ours and override no key, such as WAYPOST_TRACKING_OPENS with one underscore."""
    names = sorted(name for name in environment if name.startswith(PREFIX) and "__" not in name)
    tables = tuple(f"{PREFIX}{table.upper()}_" for table in Config.model_fields)
    return [name for name in names if name != NOT_A_KEY and name.startswith(tables)]


def apply_environment(tree: Tree, environment: Mapping[str, str]) -> dict[tuple[str, ...], str]:
    """Puts `WAYPOST_TABLE__KEY` into the tree. Returns which variable gave which key.

    A list of tables (`[[upstream]]`, `[[access.user]]`) is reached at its first table, which is made where there is
    none: `WAYPOST_UPSTREAM__ADDRESS` is enough to turn on an upstream. `WAYPOST_UPSTREAM__2__ADDRESS` is that of the
    second. `WAYPOST_TABLE__KEY_FILE` names the file of a secret, as containers have them.
    """
    variables: dict[tuple[str, ...], str] = {}
    for variable in sorted(environment):
        if not variable.startswith(PREFIX) or variable == NOT_A_KEY or "__" not in variable:
            continue
        names = variable.removeprefix(PREFIX).lower().split("__")
        location, field = _find_field(names)
        value = _parse_value(environment[variable])
        if field is None and names[-1].endswith(_FILE_ENDING):
            of_secret, field = _find_field([*names[:-1], names[-1].removesuffix(_FILE_ENDING)])
            if field is not None:
                location, value = of_secret, {"file": environment[variable]}
        elif field is not None and field.annotation is bool:
            value = _FLAGS.get(environment[variable].strip().lower(), value)
        for place in _put_value(tree, location, value):
            variables[place] = variable
    return variables


def _find_field(names: list[str]) -> tuple[Location, FieldInfo | None]:
    """Where the names lead in a tree, and what the schema says of it. In a list of tables a number, from 1, may follow
    its name; without one it is the first table."""
    location: Location = ()
    fields: dict[str, FieldInfo] = dict(Config.model_fields)
    field, waiting = None, [*names]
    while waiting:
        name = waiting.pop(0)
        location += (name,)
        field = fields.get(name)
        annotation: Any = field.annotation if field else None  # Any: of many kinds
        model = (get_args(annotation) or (annotation,))[0]
        is_table = isinstance(model, type) and issubclass(model, BaseModel)
        fields = dict(model.model_fields) if is_table else {}
        if waiting and is_table and str(annotation).startswith("list["):
            has_number = len(waiting) > 1 and _IS_NUMBER(waiting[0])
            location += (int(waiting.pop(0)) - 1 if has_number else 0,)
    return location, field


def _put_value(tree: Tree, location: Location, value: object) -> list[tuple[str, ...]]:
    """Puts the value there, and returns the places that are new: its own, and the tables that were made for it."""
    place: Any = tree  # Any: as TOML has it
    added: list[tuple[str, ...]] = []
    for n, (step, following) in enumerate(pairwise(location), 1):
        if isinstance(step, int) and isinstance(place, list):
            place += [{} for _ in range(step + 1 - len(place))]
        elif isinstance(step, str) and isinstance(place, dict):
            if step not in place:
                place[step] = [] if isinstance(following, int) else {}
                added.append(tuple(map(str, location[:n])))
        else:
            return added
        place = place[step]
    if not isinstance(place, dict):  # the file has something else there, which the schema refuses
        return added
    place[location[-1]] = value
    return [*added, tuple(map(str, location))]


def _parse_value(text: str) -> object:
    # Lists and inline tables are written as in TOML; everything else is taken as it is, and the schema reads it.
    if text.lstrip().startswith(("[", "{")):
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            return text
    return text
