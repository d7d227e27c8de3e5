"""The table `[unsubscribe]`: which mail carries List-Unsubscribe, and who the pages of recipients say the sender is."""

from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BeforeValidator, Field, ValidationInfo

from relay.config.base import ConfigTable
from relay.config.values import OptionalMailbox, Stream, config_directory

MAX_LOGO = 64 << 10  # octets: it stands in each page
_MAX_TITLE = 100  # characters
_MEDIA_TYPES = {  # by how a file of it begins
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
    b"<svg": "image/svg+xml",
    b"<?xml": "image/svg+xml",
}


class Logo(NamedTuple):
    """A picture, read at the start."""

    path: Path
    media_type: str
    octets: bytes

    def __str__(self) -> str:
        return str(self.path)


def read_logo(value: object, info: ValidationInfo) -> Logo | None:
    """The picture that lies at a path; empty is none."""
    if value is None or isinstance(value, Logo):
        return value
    if not value:
        return None
    path = config_directory(info.context) / str(value)
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_LOGO + 1)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    if len(octets) > MAX_LOGO:
        raise ValueError(f"must have at most {MAX_LOGO >> 10} KB: it is a part of each page")
    for beginning, media_type in _MEDIA_TYPES.items():
        if octets.startswith(beginning):
            return Logo(path, media_type, octets)
    raise ValueError("must be a PNG, JPEG, GIF, WebP or SVG")


class StreamTitle(ConfigTable):
    stream: Stream
    title: str = Field(min_length=1, max_length=_MAX_TITLE)


class UnsubscribeConfig(ConfigTable):
    header: Literal["add", "replace", "off"] = "add"
    streams: list[Stream] = ["*"]
    exempt: list[Stream] = ["transactional"]
    mailto: OptionalMailbox = ""
    sender: str = Field("", max_length=_MAX_TITLE)
    logo: Annotated[Logo | None, BeforeValidator(read_logo)] = None
    title: list[StreamTitle] = []

    def is_exempt(self, stream: str) -> bool:
        """True if unsubscribes do not hold back that stream."""
        return _matches_any(stream, tuple(self.exempt))


@lru_cache(maxsize=1024)  # each mail asks
def _matches_any(stream: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(stream, pattern) for pattern in patterns)
