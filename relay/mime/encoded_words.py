"""Field values with encoded words, as text. RFC 2047.

In: an unfolded value.  Out: text of any length. Of a message in transit a value is decoded as a whole or stays as it
came, for what it says is obeyed. Of a report each word is decoded as far as it can be, for only a reader sees it.
"""

import email.errors
import email.header
import quopri
import re
from contextlib import suppress

from relay.mime import charset_names, transfer_encoding

_CHARSET = re.compile(r"=\?([^?*]*+)[^?]*+\?[bqBQ]\?")  # RFC 2231 §5: a language may follow it
_ENCODED_WORD = re.compile(r"=\?([\w.:-]{1,40})(?:\*[\w-]*)?\?([bBqQ])\?([^?\s]*)\?=")
_BETWEEN_WORDS = re.compile(r"(\?=)\s++(?==\?)")


def decode_words(value: bytes) -> str:
    """The value with all its encoded words decoded; as it came where one of them cannot be."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    # What begins a word after the last one's end would be looked through to the end of the line, each time anew.
    end = text.rfind("?=") + len("?=") if "?=" in text else 0
    words, rest = text[:end], text[end:]
    if "=?" not in words or len(words.splitlines()) > 1 or not all(map(charset_names.lookup, _CHARSET.findall(words))):
        return text
    with suppress(email.errors.MessageError, LookupError, ValueError):
        return str(email.header.make_header(email.header.decode_header(words))) + rest
    return text


def decode_words_leniently(value: str) -> str:
    """The value with each encoded word decoded by itself, whatever its charset and its letters are."""
    if "=?" not in value:
        return value
    return _ENCODED_WORD.sub(_decode_word, _BETWEEN_WORDS.sub(r"\1", value))


def _decode_word(found: re.Match[str]) -> str:
    octets = found[3].encode("utf-8", "replace")
    decoded = (
        transfer_encoding.from_loose_base64(octets) if found[2] in "bB" else quopri.decodestring(octets, header=True)
    )
    return charset_names.decode(decoded, found[1])
