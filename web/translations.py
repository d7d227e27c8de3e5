"""The texts of recipients' pages, in the language that their browser asks for.

In: an Accept-Language field (RFC 9110 §12.5.4).  Out: the texts of `translations.toml`, with the language's tag.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

_TRANSLATIONS: dict[str, dict[str, str]] = tomllib.loads(
    Path(__file__).with_name("translations.toml").read_text("utf-8")
)
# Each repeat is possessive: otherwise one request with 60,000 blanks in this field took 15 s.
_LANGUAGE_RANGE = re.compile(
    r"\s*+([A-Za-z]{1,8}+)(?:-[A-Za-z0-9]{1,8}+)*+\s*+(?:;\s*+[qQ]\s*+=\s*+([01](?:\.[0-9]{0,3})?))?\s*+"
)
MAX_FIELD = 1000  # characters of the field that are read
_MAX_RANGES = 30
_LANGUAGE_TAGS = {"zh": "zh-Hans"}

TEXTS: Mapping[str, Mapping[str, str]] = {
    name: {**_TRANSLATIONS["en"], **texts, "lang": _LANGUAGE_TAGS.get(name, name)}
    for name, texts in _TRANSLATIONS.items()
}
ENGLISH = TEXTS["en"]


def choose_texts(accept_language: str) -> Mapping[str, str]:
    """The texts in the language that the visitor prefers, of those that we have; English if we have none of them."""
    preferences: list[tuple[float, str]] = []
    for part in accept_language[:MAX_FIELD].split(",")[:_MAX_RANGES]:
        if found := _LANGUAGE_RANGE.fullmatch(part):
            preferences.append((float(found[2] or 1), found[1].lower()))
    # The sort is stable: of equal weights the first in the field wins.
    for weight, name in sorted(preferences, key=lambda pair: -pair[0]):
        if weight > 0 and name in TEXTS:
            return TEXTS[name]
    return ENGLISH
