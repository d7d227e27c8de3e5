"""Links in text/plain: the settings that track them, and the text with each one put back."""

import email
import email.message
import re

from relay.rewrite import plan
from tests.rewrite.mails import PUBLIC_URL
from tests.rewrite.mails import destination as leads_to

SETTINGS = plan.Settings(PUBLIC_URL, text_links=True, exclude=frozenset({"keep.example"}))
CLICK = re.compile(rf"{PUBLIC_URL}/c/[\w-]+")


def put_back(text: str) -> str:
    """The text with every tracking URL where it leads."""
    return CLICK.sub(lambda found: leads_to(found[0]), text)


def text_of(octets: bytes) -> str:
    message = email.message_from_bytes(octets)
    payload = message.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode(message.get_content_charset("utf-8"), "surrogateescape")
