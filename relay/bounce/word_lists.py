"""The wording of reports, from `reports.toml`: each list as one pattern, made when it is first needed."""

import re
import tomllib
from functools import cache
from pathlib import Path

_LISTS = tomllib.loads(Path(__file__).with_name("reports.toml").read_text(encoding="utf-8"))


@cache
def list_pattern(table: str, name: str, template: str = "{}") -> re.Pattern[str]:
    """The entries of a list as alternatives, put into the template."""
    entries = "|".join(_LISTS[table][name])
    return re.compile(template.replace("{}", f"(?:{entries})"), re.IGNORECASE)
