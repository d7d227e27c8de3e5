"""The API's mails themselves: `GET messages/ID/source|html|text`, for test suites and for looking.

In: requests behind the API's gate.  Out: the mail as one recipient got it, or as it was accepted; its HTML with its own
pictures inside; its text. In a sandbox the links and the pixel are live; else an onlooker would count as the recipient.
"""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay import tokens
from relay.config.schema import Config
from relay.store.store import Store
from web import mail_view
from web.api.answers import ApiError
from web.api.openapi import documented
from web.api.parameters import QueryParameters, read_query
from web.sent_mail import SentMail, SentMailReader

_NEVER_SHOWN = "sandbox; default-src 'none'"  # by a browser that would show it all the same

Number = Annotated[int, Field(ge=0, le=999_999, description="the recipient's number, from 0")]


class ContentParameters(QueryParameters):
    number: Number = 0


class SourceParameters(ContentParameters):
    version: Literal["sent", "received"] = Field(
        default="sent", alias="as", description="sent: as the recipient got it; received: as it was accepted"
    )


class HtmlParameters(ContentParameters):
    remote: bool = Field(default=False, description="let a browser load pictures from elsewhere")


class MessageContentApi:
    """The endpoints under `messages/ID` that answer with the mail."""

    def __init__(self, config: Config, store: Store, ring: tokens.KeyRing) -> None:
        self._is_sandbox = config.is_sandbox
        self._public_url = urlsplit(config.tracking.public_url)
        self._mails = SentMailReader(config, store, ring)

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/messages/{message}/source", self.show_source),
            Route("/messages/{message}/html", self.show_html),
            Route("/messages/{message}/text", self.show_text),
        ]

    @documented("The mail's octets", query=SourceParameters, media_type="message/rfc822")
    async def show_source(self, request: Request) -> Response:
        asked = read_query(request, SourceParameters)
        found = await self._read_mail(request, asked.number, is_live=True)
        name = f"{found.message.id}-{asked.number}-{asked.version}.eml"
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        return _content(
            found.octets if asked.version == "sent" else found.received, "message/rfc822", _NEVER_SHOWN, headers
        )

    @documented("The mail's HTML, with its own pictures inside", query=HtmlParameters, media_type="text/html")
    async def show_html(self, request: Request) -> Response:
        asked = read_query(request, HtmlParameters)
        found = await self._read_mail(request, asked.number, is_live=self._is_sandbox)
        html = await self._mails.compute(lambda: mail_view.view_mail(found.octets).html)
        if not html:
            raise ApiError(404, "not_found", "the mail has no HTML")
        own = f"{self._public_url.scheme}://{self._public_url.netloc}" if self._is_sandbox else ""
        return _content(html.encode("utf-8", "replace"), "text/html", mail_view.frame_policy(own, remote=asked.remote))

    @documented("The mail's text", query=ContentParameters, media_type="text/plain")
    async def show_text(self, request: Request) -> Response:
        asked = read_query(request, ContentParameters)
        found = await self._read_mail(request, asked.number, is_live=self._is_sandbox)
        text = await self._mails.compute(lambda: mail_view.view_mail(found.octets).text)
        if not text:
            raise ApiError(404, "not_found", "the mail has no text")
        return _content(text.encode("utf-8", "replace"), "text/plain", _NEVER_SHOWN)

    async def _read_mail(self, request: Request, number: int, *, is_live: bool) -> SentMail:
        wanted = request.path_params["message"]
        found = await self._mails.read_mail(wanted, number, is_live=is_live)
        if found is None:
            what = f"there is no message {wanted} with a recipient {number}, or its octets are not kept any more"
            raise ApiError(404, "not_found", what)
        return found


def _content(octets: bytes, media_type: str, policy: str, headers: dict[str, str] | None = None) -> Response:
    safe = {"content-security-policy": policy, "cache-control": "no-store"}
    return Response(octets, media_type=media_type, headers=safe | (headers or {}))
