"""The mails of the table: 2 KB of text, 31 KB of HTML with eight links, 1 MB with an attachment."""

import base64
import random
from pathlib import Path

_HEADER = (
    b"From: Sender <a@sender.test>\r\nTo: you@example.com\r\nSubject: bench\r\n"
    b"Date: Thu, 12 Nov 2026 09:01:00 +0000\r\nMessage-ID: <bench@sender.test>\r\nMIME-Version: 1.0\r\n"
)
_PARAGRAPH = (
    b'<p style="margin:0 0 12px;color:#114">A paragraph of a newsletter, with <b>some</b> markup and quite a bit of '
    b"text, as they are written, to be as long as real ones are on the average.</p>\r\n"
)
_LINK = b'<p><a href="https://shop.example/item/%d?utm_source=mail&amp;utm_medium=email">item</a></p>\r\n'
_TEXT = (
    _HEADER + b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + b"a line of plain text, and nothing more\r\n" * 45
)
_HTML = (
    _HEADER
    + b"Content-Type: text/html; charset=utf-8\r\n\r\n<html><body>\r\n"
    + b"".join(_PARAGRAPH * 18 + _LINK % n for n in range(8))
    + b"</body></html>\r\n"
)


def _with_attachment() -> bytes:
    octets = base64.encodebytes(random.Random(1).randbytes(750_000)).replace(b"\n", b"\r\n")
    return (
        _HEADER
        + b'Content-Type: multipart/mixed; boundary="part"\r\n\r\n'
        + b"--part\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nSee the file.\r\n"
        + b"--part\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n"
        + b'Content-Disposition: attachment; filename="file.bin"\r\n\r\n'
        + octets
        + b"--part--\r\n"
    )


def write(folder: Path) -> dict[str, Path]:
    """The files by name: "2 KB text", "31 KB HTML", "1 MB"."""
    files: dict[str, Path] = {}
    for name, octets in (("2 KB text", _TEXT), ("31 KB HTML", _HTML), ("1 MB", _with_attachment())):
        files[name] = folder / f"{name.replace(' ', '-')}.eml"
        files[name].write_bytes(octets)
    return files
