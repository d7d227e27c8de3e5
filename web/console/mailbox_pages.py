"""The mailbox: mail as its recipients see it, one page a delivery.

In: a message's id and a recipient's number.  Out: its list, its page, its HTML in a frame of its own, its octets
as they were sent and as they came, and each edit between the two.
"""

import asyncio
import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from relay import tokens
from relay.config.schema import Config
from relay.edits import Edit, splice
from relay.rewrite import dkim
from relay.store.database import delivery_rows
from relay.store.database.tables import Delivery, Message
from relay.store.queue import deliveries
from relay.store.store import Store
from relay.store.views import message_list
from web.console import mail_view

_PAGE = 50
_AT_A_TIME = 2  # mails are read: links and pixels are answered in the same process
_MOST_RECIPIENTS = 1 << 31  # what an INTEGER column holds
_VIEWS = ("html", "text", "headers", "source", "changes")


class _Opened(NamedTuple):
    message: Message
    delivery: Delivery
    received: bytes
    edits: list[Edit]
    octets: bytes  # as sent


class Letters:
    """The routes under `/mailbox`."""

    def __init__(self, config: Config, store: Store, ring: tokens.KeyRing, page: Callable[..., Response]) -> None:
        self._config = config
        self._store = store
        self._minter = tokens.Minter(ring, config.tracking.public_url, config.privacy.has_recipient_tokens)
        self._signer = dkim.Signer(config.dkim.key)
        self._page = page
        self._reading = asyncio.Semaphore(_AT_A_TIME)

    def routes(self) -> list[BaseRoute]:
        one = "/mailbox/{message}/{number:int}"
        return [
            Route("/mailbox", self.listing),
            Route(one, self.letter),
            Route(f"{one}/html", self.frame),
            Route(f"{one}/sent.eml", self.sent),
            Route(f"{one}/received.eml", self.received),
        ]

    async def listing(self, request: Request) -> Response:
        asked = request.query_params
        query = asked.get("q", "").strip()
        message, _, number = asked.get("before", "").partition(".")
        before = (message, int(number)) if re.fullmatch(r"[0-9]{1,9}", number) else None
        letters = await self._store.read(
            lambda connection: message_list.list_mailbox(connection, _PAGE + 1, query=query, before=before)
        )
        shown = letters[:_PAGE]
        older = ""
        if len(letters) > _PAGE:
            older = "/mailbox?" + urlencode({"q": query, "before": f"{shown[-1].message}.{shown[-1].number}"})
        return self._page(
            request,
            "mailbox.html",
            "mailbox",
            letters=shown,
            q=query,
            older=older,
            newest="/mailbox?" + urlencode({"q": query}) if query else "/mailbox",
            is_later_page=before is not None,
        )

    async def letter(self, request: Request) -> Response:
        found = await self._open(request)
        async with self._reading:
            mail = await asyncio.to_thread(mail_view.read, found.octets)
            has_remote = await asyncio.to_thread(mail_view.has_remote, mail.html)
        has = {"html": bool(mail.html), "text": bool(mail.text), "headers": True, "source": True, "changes": True}
        asked = request.query_params.get("view", "")
        view = asked if has.get(asked) else next(view for view in _VIEWS if has[view])
        return self._page(
            request,
            "letter.html",
            "mailbox",
            message=found.message,
            delivery=found.delivery,
            mail=mail,
            view=view,
            views=[view for view in _VIEWS if has[view]],
            has_remote=has_remote,
            loads_remote=_loads_remote(request),
            here=f"/mailbox/{found.message.id}/{found.delivery.number}",
            source=found.octets[: mail_view.LONGEST_SOURCE].decode("utf-8", "replace") if view == "source" else "",
            changes=mail_view.changes(found.received, found.edits) if view == "changes" else [],
            source_is_cut=len(found.octets) > mail_view.LONGEST_SOURCE,
            sent_octets=len(found.octets),
        )

    async def frame(self, request: Request) -> Response:
        # In a sandbox the recipient is whoever looks; else an onlooker must not count as the recipient.
        found = await self._open(request, is_live=self._config.is_sandbox)
        async with self._reading:
            html = await asyncio.to_thread(lambda: mail_view.framed(mail_view.read(found.octets).html).encode())
        own = _origin(self._config.tracking.public_url) if self._config.is_sandbox else ""
        policy = mail_view.policy(own, remote=_loads_remote(request))
        return HTMLResponse(html, headers={"content-security-policy": policy, "cache-control": "no-store"})

    async def sent(self, request: Request) -> Response:
        found = await self._open(request)
        return _file(f"{found.message.id}-{found.delivery.number}-sent.eml", found.octets)

    async def received(self, request: Request) -> Response:
        message_id = request.path_params["message"]
        fetched = await self._store.read(lambda connection: deliveries.find_with_content(connection, message_id))
        if fetched is None:
            raise HTTPException(404)
        return _file(f"{message_id}-received.eml", fetched[1])

    async def _open(self, request: Request, *, is_live: bool = True) -> _Opened:
        message_id, number = request.path_params["message"], request.path_params["number"]
        if number >= _MOST_RECIPIENTS:
            raise HTTPException(404)
        fetched, delivery = await self._store.read(
            lambda connection: (
                deliveries.find_with_content(connection, message_id),
                delivery_rows.find_delivery(connection, message_id, number),
            )
        )
        if fetched is None or delivery is None:
            raise HTTPException(404)
        message, received = fetched

        def opened() -> _Opened:
            made = mail_view.edits(
                message, received, self._minter, self._signer, number, tracked=delivery.tracked, is_live=is_live
            )
            return _Opened(message, delivery, received, made, splice(received, made))

        async with self._reading:
            return await asyncio.to_thread(opened)


def _loads_remote(request: Request) -> bool:
    return request.query_params.get("remote") == "yes"


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _file(name: str, octets: bytes) -> Response:
    # The policy is for a browser that would show it all the same.
    return Response(
        octets,
        media_type="message/rfc822",
        headers={
            "content-disposition": f'attachment; filename="{name}"',
            "content-security-policy": "sandbox; default-src 'none'",
            "cache-control": "no-store",
        },
    )
