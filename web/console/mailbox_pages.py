"""The mailbox: mail as its recipients see it, one page a delivery.

In: a message's id and a recipient's number.  Out: its list, its page, its HTML in a frame of its own, its octets
as they were sent and as they came, and each edit between the two.
"""

import mimetypes
import re
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from relay import ids, tokens
from relay.config.schema import Config
from relay.store import retention
from relay.store.console.audit_log import AuditedChange
from relay.store.queue import deliveries
from relay.store.store import Store
from relay.store.views import message_detail, message_list
from web import audited, mail_view
from web.console import heat_map, html_comparison, page_filters, sign_in
from web.console.html_comparison import HtmlChange
from web.console.page_filters import PageFilters
from web.sent_mail import SentMail, SentMailReader

_PAGE_ROWS = 50
_MAX_NAME = 150  # characters of a file's name
_CURSOR = re.compile(rf"({ids.PATTERN})\.([0-9]{{1,9}})")
_UNSAFE_IN_NAME = re.compile(r'[\x00-\x1f\x7f"\\/:*?<>|\u202a-\u202e\u2066-\u2069]')
_NOT_ASCII = re.compile(r"[^\x20-\x7e]")
_WIDTHS = ("tablet", "phone")
_VIEWS = ("html", "text", "headers", "source", "changes", "clicks")


class MailboxPages:
    """The routes under `/mailbox`."""

    def __init__(self, config: Config, store: Store, ring: tokens.KeyRing, page: Callable[..., Response]) -> None:
        self._config = config
        self._store = store
        self._mails = SentMailReader(config, store, ring)
        self._render_page = page

    def routes(self) -> list[BaseRoute]:
        one = "/mailbox/{message}/{number:int}"
        return [
            Route("/mailbox", self.list_mail),
            Route("/mailbox/delete", self.delete_mail, methods=["POST"]),
            Route(one, self.show_mail),
            Route(f"{one}/html", self.show_html),
            Route(f"{one}/part/{{part:int}}", self.download_part),
            Route(f"{one}/sent.eml", self.download_sent),
            Route(f"{one}/received.eml", self.download_received),
        ]

    async def list_mail(self, request: Request) -> Response:
        filters = PageFilters(request.query_params, ("q", "before"))
        query, begun = filters.text("q"), filters.cursor("before", _CURSOR, "older mail")
        before = (begun[1], int(begun[2])) if begun else None
        page = await self._store.read(
            lambda connection: message_list.list_mailbox(connection, _PAGE_ROWS, query=query, before=before)
        )
        older = ""
        if page.next:
            older = page_filters.page_url("/mailbox", {"q": query, "before": f"{page.next[0]}.{page.next[1]}"})
        return self._render_page(
            request,
            "mailbox.html",
            "mailbox",
            entries=page.items,
            looked_back_to=ids.time_of(page.next[0]) if page.next else None,
            faults=filters.faults,
            q=query,
            older=older,
            newest=page_filters.page_url("/mailbox", {"q": query}),
            is_later_page=before is not None,
        )

    async def show_mail(self, request: Request) -> Response:
        found = await self._load_mail(request)
        mail = await self._mails.compute(lambda: mail_view.view_mail(found.octets))
        public_url = self._config.tracking.public_url
        has_remote = await self._mails.compute(lambda: mail_view.has_remote_content(mail.html, public_url))
        has = {"html": bool(mail.html), "text": bool(mail.text), "headers": True, "source": True, "changes": True}
        has["clicks"] = bool(mail.html) and any(link.get("decision") == "tracked" for link in found.message.links)
        asked = request.query_params.get("view", "")
        view = asked if has.get(asked) else next(view for view in _VIEWS if has[view])
        links = await self._read_clicked_links(found) if view == "clicks" else found.message.links
        html_changes: list[HtmlChange] = []
        if view == "changes":
            came = await self._mails.compute(lambda: mail_view.view_mail(found.received).html)
            html_changes = await self._mails.compute(lambda: html_comparison.compare_html(came, mail.html))
        width = request.query_params.get("width", "")
        return self._render_page(
            request,
            "mail.html",
            "mailbox",
            message=found.message,
            delivery=found.delivery,
            mail=mail,
            view=view,
            views=[view for view in _VIEWS if has[view]],
            has_remote=has_remote,
            loads_remote=_asks_for_remote(request),
            here=f"/mailbox/{found.message.id}/{found.delivery.number}",
            source=found.octets[: mail_view.MAX_SOURCE].decode("utf-8", "replace") if view == "source" else "",
            changes=mail_view.describe_edits(found.received, found.edits) if view == "changes" else [],
            source_is_cut=len(found.octets) > mail_view.MAX_SOURCE,
            sent_octets=len(found.octets),
            width=width if width in _WIDTHS else "",
            html_changes=html_changes,
            links=links,
            levels=heat_map.heat_levels(links) if view == "clicks" else {},
            max_marked=heat_map.MAX_MARKED,
            links_by_url={str(link.get("url", "")): link for link in found.message.links},
        )

    async def delete_mail(self, request: Request) -> Response:
        """Deletes a message of the sandbox, or all."""
        form = await sign_in.read_checked_form(request)
        if not self._config.is_sandbox:
            raise HTTPException(404)
        wanted = str(form.get("message", ""))
        if wanted:
            work = partial(retention.delete_messages, messages=[wanted])
            if not await audited.write(self._store, request, AuditedChange("message.delete", wanted), work):
                raise HTTPException(404)
            request.session["notice"] = "The message is deleted."
            return RedirectResponse("/mailbox", 303)
        deleted, some = 0, retention.MAX_DELETED
        while some == retention.MAX_DELETED:
            change = AuditedChange("message.delete")
            some = await audited.write(self._store, request, change, retention.delete_oldest_messages)
            deleted += some
        request.session["notice"] = f"{deleted:,} messages are deleted." if deleted != 1 else "The message is deleted."
        return RedirectResponse("/mailbox", 303)

    async def show_html(self, request: Request) -> Response:
        # In a sandbox the person who looks counts as the recipient. Elsewhere an operator who looks must not.
        marks = request.query_params.get("clicks") == "yes"
        found = await self._load_mail(request, is_live=self._config.is_sandbox and not marks)
        links = await self._read_clicked_links(found) if marks else []

        def make() -> bytes:
            shown = mail_view.view_mail(found.octets).html
            return mail_view.add_link_target(heat_map.mark_links(shown, links) if marks else shown).encode()

        html = await self._mails.compute(make)
        own = _origin(self._config.tracking.public_url) if self._config.is_sandbox else ""
        policy = mail_view.frame_policy(own, remote=_asks_for_remote(request))
        return HTMLResponse(html, headers={"content-security-policy": policy, "cache-control": "no-store"})

    async def download_part(self, request: Request) -> Response:
        found, number = await self._load_mail(request, is_live=False), request.path_params["part"]
        part = await self._mails.compute(lambda: mail_view.find_part(found.octets, number))
        if part is None:
            raise HTTPException(404)
        octets = await self._mails.compute(lambda: part.octets(len(part.body)))
        name = part.name or f"part-{number}{mimetypes.guess_extension(part.type) or ''}"
        return _download(name, octets, "application/octet-stream")  # never as a type that a browser would show

    async def download_sent(self, request: Request) -> Response:
        found = await self._load_mail(request)
        return _mail_download(f"{found.message.id}-{found.delivery.number}-sent.eml", found.octets)

    async def download_received(self, request: Request) -> Response:
        message_id = request.path_params["message"]
        fetched = await self._store.read(lambda connection: deliveries.find_with_content(connection, message_id))
        if fetched is None:
            raise HTTPException(404)
        return _mail_download(f"{message_id}-received.eml", fetched[1])

    async def _read_clicked_links(self, mail: SentMail) -> list[dict[str, Any]]:  # Any: as the rewriting reported them
        """The links of the mail, each with its clicks by all recipients."""
        message = mail.message
        clicks = await self._store.read(
            lambda connection: message_detail.count_clicks_by_link(connection, [message.id])
        )
        return message_detail.add_clicks(message.links, clicks[message.id])

    async def _load_mail(self, request: Request, *, is_live: bool = True) -> SentMail:
        found = await self._mails.read_mail(
            request.path_params["message"], request.path_params["number"], is_live=is_live
        )
        if found is None:
            raise HTTPException(404)
        return found


def _asks_for_remote(request: Request) -> bool:
    return request.query_params.get("remote") == "yes"


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _mail_download(name: str, octets: bytes) -> Response:
    return _download(name, octets, "message/rfc822")


def _download(name: str, octets: bytes, media_type: str) -> Response:
    # RFC 6266 §4.3: the name in ASCII, and as it is.
    plain = _UNSAFE_IN_NAME.sub("_", name)[:_MAX_NAME]
    ascii_name = _NOT_ASCII.sub("_", plain)
    # A browser that shows the file nevertheless applies this policy.
    return Response(
        octets,
        media_type=media_type,
        headers={
            "content-disposition": f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(plain)}",
            "content-security-policy": "sandbox; default-src 'none'",
            "cache-control": "no-store",
        },
    )
