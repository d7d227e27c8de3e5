r"""Whether all lines end in CRLF. RFC 5322 §2.3: CR and LF stand together only.

A server that takes a lone CR or LF for the end of a line reads such mail otherwise than one that does not.
"""

import re

# With the octet itself in front, Python looks for that first: 1.3 ms for both in 1 MB. To count `\r\n` takes 4 ms.
LONE_CR, LONE_LF = re.compile(rb"\r(?!\n)"), re.compile(rb"\n(?<!\r\n)")
_WINDOW = 1 << 20  # octets; between two of them other threads have their turn


def has_only_crlf(octets: bytes) -> bool:
    """True if there is no lone CR and no lone LF."""
    at = 0
    while at < len(octets):
        end = at + _WINDOW
        end += octets[end - 1 : end] == b"\r"
        window, at = octets[at:end], end
        if LONE_CR.search(window) or LONE_LF.search(window):
            return False
    return True


def still_has_only_crlf(copy: bytes, original: bytes, changed_to: int) -> bool:
    """The same for a copy of octets that have only CRLF, and that are changed up to `changed_to` only.

    What stands behind that is compared with the original, which takes a twentieth of the time.
    """
    kept = original[changed_to:]
    if not copy.endswith(kept):
        return has_only_crlf(copy)
    changed = copy[: len(copy) - len(kept)]
    return has_only_crlf(changed + kept[:2].removesuffix(b"\r"))
