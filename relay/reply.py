"""SMTP replies, ours and the upstream's.  RFC 5321 §4.2, RFC 2034, RFC 3463."""

import re
from functools import lru_cache
from typing import NamedTuple

# RFC 3463 §2: class "." subject "." detail
_STATUS = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?=[\s:;,-]|$)[ \t:;,-]*")
MAX_TEXT = 4000  # characters of an upstream's reply that are kept
# Texts of ours that the server's words, or those of an earlier fault, follow.
_BEFORE_QUOTES = ("unexpected reply", "not an SMTP reply", "Malformed SMTP response", "the upstream is out")
MAX_REASON = 200  # characters
_NOT_PRINTABLE = re.compile(r"[^\x20-\x7e]")


class Reply(NamedTuple):
    """A reply: three digits, an enhanced status (`""` where there is none) and text, lines parted by LF."""

    code: int
    status: str
    text: str

    @property
    def accepts(self) -> bool:
        return 200 <= self.code < 300

    @property
    def is_permanent(self) -> bool:
        return 500 <= self.code < 600

    @property
    def closes_connection(self) -> bool:
        """True if the server ends the connection after it (RFC 5321 §3.8)."""
        return self.code == 421

    @property
    def reason_without_reply(self) -> str:
        """Why there was no reply, for the log: without what the server said, and without addresses."""
        if self.code:
            return ""
        text = self.text
        for phrase in _BEFORE_QUOTES:
            if (at := text.find(phrase)) >= 0:
                text = text[: at + len(phrase)]
        return " ".join(word for word in text.split() if "@" not in word)[:MAX_REASON]

    @lru_cache(maxsize=512)  # noqa: B019  a value; a few texts come again and again
    def wire(self) -> bytes:
        """The reply as it goes over the connection, one or more lines, each CRLF-ended.

        Octets outside printable ASCII become `?`: a reply that we pass on must not end or begin a line.
        """
        prefix = f"{self.status} " if self.status else ""
        if "\n" not in self.text:
            line = f"{self.code} {prefix}{_NOT_PRINTABLE.sub('?', self.text)[:900]}"
            return f"{line.rstrip()}\r\n".encode("ascii")
        lines = self.text.split("\n")
        last = len(lines) - 1
        return b"".join(
            f"{self.code}{' ' if n == last else '-'}{prefix}{_NOT_PRINTABLE.sub('?', line)[:900]}".rstrip().encode(
                "ascii"
            )
            + b"\r\n"
            for n, line in enumerate(lines)
        )

    def __str__(self) -> str:
        return " ".join(part for part in (str(self.code or ""), self.status, self.text.replace("\n", " ")) if part)


def parse_reply(code: int, text: str) -> Reply:
    """The reply that an upstream gave, with the enhanced status taken off each line of its text.

    The text can be stored, whatever octets it had: it is UTF-8, without NUL, and of limited length.
    """
    if not text.isprintable():
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\0", "")
    text = text[:MAX_TEXT]
    found = _STATUS.match(text)
    if not found:
        return Reply(code, "", text.strip())
    if "\n" not in text:
        return Reply(code, ".".join(found.groups()), text[found.end() :].strip())
    lines = [_STATUS.sub("", line, count=1) if _STATUS.match(line) else line for line in text.split("\n")]
    return Reply(code, ".".join(found.groups()), "\n".join(lines).strip())


class RefusedError(Exception):
    """A refusal, with the reply for the client. The edge sends it."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


def refusal(code: int, status: str, text: str) -> RefusedError:
    """Short for `RefusedError(Reply(…))`."""
    return RefusedError(Reply(code, status, text))
