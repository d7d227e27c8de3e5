"""Domain names as they are asked for: every spelling of one name becomes the same ASCII octets.

In: a name as somebody wrote it, in U-labels, A-labels or both.  Out: A-labels in lower case.  UTS #46, non-transitional
as browsers have it (`ß` stays apart from `ss`), so also for names that IDNA 2008 would not register, such as emoji;
RFC 5890 §2.3.2.1 (A-labels), RFC 1035 §2.3.4 (lengths).
"""

import re
import unicodedata
from functools import lru_cache

MAX_NAME, MAX_LABEL = 253, 63  # octets of the ASCII form, the final dot not counted
_MAX_INPUT = 1000  # characters: of what is longer no mapping leaves a name that fits
# URL §3.5, forbidden domain code points: a mapping must not put one in (U+FF0F becomes `/`).
_FORBIDDEN = re.compile(r"[\x00-\x20#%/:<>?@\[\\\]^|\x7f]")
_DOTS = str.maketrans({"\u3002": ".", "\uff0e": ".", "\uff61": "."})


def to_ascii(name: str) -> str | None:
    """The name in A-labels and lower case; a final dot stays. None where no such name can exist.

    Linear, whatever the name: a label is measured before it is put into Punycode, whose cost grows with the square.
    A name that is ASCII already is put into lower case and measured, and nothing else is looked at.
    """
    if len(name) > _MAX_INPUT:
        return None
    ascii_name = name.lower() if name.isascii() else _map_to_ascii(name)
    if ascii_name is None or len(ascii_name.removesuffix(".")) > MAX_NAME:
        return None
    if len(ascii_name) > MAX_LABEL and any(len(label) > MAX_LABEL for label in ascii_name.split(".")):
        return None
    return ascii_name


def to_unicode(name: str) -> str:
    """The name with its A-labels decoded (NFC); a label that cannot be stays as it is."""
    if "xn--" not in name.lower() or len(name) > _MAX_INPUT:
        return name
    return ".".join(_decode_label(label) for label in name.split("."))


def _decode_label(label: str) -> str:
    if not label.lower().startswith("xn--") or len(label) > MAX_LABEL:
        return label
    try:
        return unicodedata.normalize("NFC", label[4:].encode("ascii").decode("punycode"))
    except (UnicodeError, ValueError):
        return label


@lru_cache(maxsize=1024)  # the same few again and again; each is at most _MAX_INPUT long
def _map_to_ascii(name: str) -> str | None:
    import idna  # most names are ASCII, and most commands have none

    try:
        mapped = idna.uts46_remap(name.translate(_DOTS), std3_rules=False)
        if _FORBIDDEN.search(mapped):
            return None
        labels = mapped.split(".")
        is_bidi = any(unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in name)
        return ".".join(_a_label(label, is_bidi) for label in labels)
    except (idna.IDNAError, ValueError):
        return None


def _a_label(label: str, is_bidi: bool) -> str:
    """Raises ValueError for a label that has no A-label (UTS #46 §4.1)."""
    import idna

    if label.isascii():
        return label
    if len(label) > MAX_LABEL:
        raise ValueError("a label is too long")
    idna.check_initial_combiner(label)
    if is_bidi:
        idna.check_bidi(label, check_ltr=True)
    for at, character in enumerate(label):
        if character in "\u200c\u200d" and not idna.valid_contextj(label, at):
            raise ValueError("a joiner where none belongs")
    return "xn--" + label.encode("punycode").decode("ascii")
