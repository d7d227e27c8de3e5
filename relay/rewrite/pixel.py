"""The open pixel: the image, its HTML, and its place (docs/rewriting.md#the-pixel)."""

import base64

from relay import edits
from relay.rewrite import html_tokenizer

# One transparent point.
GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAAC0lEQVR42mNgAAIAAAUAAen63NgAAAAASUVORK5CYII=")
# Attributes for Outlook, which sizes by them; `block`, for an inline picture would open a line of text's
# height. Not hidden: several clients do not fetch what is not shown.
HEAD = b"<img"
ATTRIBUTES: tuple[bytes, edits.Hole, bytes] = (
    b'src="',
    edits.Hole(edits.Kind.OPEN),
    b'" width="1" height="1" border="0" alt="" style="display:block;width:1px;height:1px"',
)
END = b">"
MAX_SHOWN = 102 * 1024  # octets of a page that Gmail shows at once; the rest, and a pixel in it, is behind a link
TAG: tuple[edits.Piece, ...] = (HEAD + b" " + ATTRIBUTES[0], ATTRIBUTES[1], ATTRIBUTES[2] + END)
_SPACE = b"\t\n\f\r "
_OF_THE_HEAD = frozenset(b"html head title style script noscript base link meta template".split())


def find_place(markup: html_tokenizer.Markup) -> int | None:
    """Where the pixel goes: right before the last live `</body>`, or `</html>`, else before the white space
    that ends the text. None if that would be inside a construct."""
    for name in (b"body", b"html"):
        for tag in reversed(markup.tags):
            if tag.name == name and tag.is_closing and tag.is_live:
                return tag.start
    if markup.is_open:
        return None
    html = markup.html
    text = html.rstrip(_SPACE)
    # White space before any body belongs to the head, or to nothing; behind the pixel it would be the body's.
    rest = markup.tokenize_within(markup.tags[-1].end if markup.tags else 0, len(html)).tags
    last = (rest or markup.tags)[-1].name if rest or markup.tags else b"html"
    is_before_body = last in _OF_THE_HEAD and (not text or text.endswith(b">"))
    return len(html) if is_before_body else len(text)
