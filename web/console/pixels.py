"""Stand-alone pixels, as operators make and watch them.

In: a session that the gate let through.  Out: the list with a form, and one pixel with what to paste and its log.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from relay import tokens
from relay.config.schema import Config
from relay.store.console.audit_log import AuditedChange
from relay.store.store import Store
from relay.store.tracking import pixels
from web import audited
from web.console import page_filters, sign_in

_PAGE_ROWS = 50


class PixelPages:
    """The routes under `/pixels`."""

    def __init__(self, config: Config, store: Store, ring: tokens.KeyRing, page: Callable[..., Response]) -> None:
        self._config = config
        self._store = store
        self._ring = ring
        self._render_page = page

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/pixels", self.list_pixels),
            Route("/pixels", self.create_pixel, methods=["POST"]),
            Route("/pixels/{pixel}", self.show_pixel),
            Route("/pixels/{pixel}/remove", self.remove_pixel, methods=["POST"]),
        ]

    async def list_pixels(self, request: Request) -> Response:
        before = request.query_params.get("before", "")
        found = await self._store.read(lambda connection: pixels.list_pixels(connection, _PAGE_ROWS + 1, before))
        shown = found[:_PAGE_ROWS]
        older = page_filters.page_url("/pixels", {"before": shown[-1].id}) if len(found) > _PAGE_ROWS else ""
        return self._render_page(
            request, "pixels.html", "pixels", pixels=shown, older=older, newest="/pixels", is_later_page=bool(before)
        )

    async def create_pixel(self, request: Request) -> Response:
        name = str((await sign_in.read_checked_form(request)).get("name", ""))
        try:
            made = await audited.write(
                self._store,
                request,
                AuditedChange("pixel.create"),
                lambda connection: pixels.create_pixel(connection, self._ring, name, datetime.now(UTC)),
                target=lambda pixel: pixel.id,
            )
        except ValueError as error:
            text = str(error)
            request.session["notice"] = f"{text[:1].upper()}{text[1:]}. Nothing was made."
            return RedirectResponse("/pixels", 303)
        request.session["notice"] = f"{made.name} is ready: copy it into your mail."
        return RedirectResponse(f"/pixels/{made.id}", 303)

    async def show_pixel(self, request: Request) -> Response:
        wanted = request.path_params["pixel"]
        seen, log = await self._store.read(
            lambda connection: (pixels.find_pixel(connection, wanted), pixels.list_pixel_log(connection, wanted))
        )
        if seen is None or seen.id != wanted:
            raise HTTPException(404)
        url = self._config.tracking.public_url
        return self._render_page(
            request,
            "pixel.html",
            "pixels",
            pixel=seen,
            log=log,
            png=pixels.pixel_url(url, seen.token),
            gif=pixels.pixel_url(url, seen.token, "gif"),
            mode=self._config.privacy.mode,
        )

    async def remove_pixel(self, request: Request) -> Response:
        await sign_in.read_checked_form(request)
        wanted = request.path_params["pixel"]
        change = AuditedChange("pixel.remove", wanted)
        await audited.remove(self._store, request, change, partial(pixels.remove_pixel, pixel=wanted), "pixel")
        request.session["notice"] = "The pixel and its log are gone."
        return RedirectResponse("/pixels", 303)
