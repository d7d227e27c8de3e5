"""The API's stand-alone pixels: `GET|POST pixels`, `GET|DELETE pixels/ID`.

In: requests behind the API's gate.  Out: JSON, in the form of `web.api.answers`.
"""

from datetime import UTC, datetime
from functools import partial
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay import tokens
from relay.config.schema import Config
from relay.store.console.audit_log import AuditedChange
from relay.store.store import Store
from relay.store.tracking import pixels
from relay.store.views import json_objects
from web import audited
from web.api.answers import ApiError, RequestBody, json_response, list_response, read_body
from web.api.openapi import documented
from web.api.parameters import PageParameters, read_query
from web.api.schemas import PixelList, PixelWithLog
from web.api_paths import PATH


def _read_name(text: str) -> str:
    """The text on one line, with a mark for each character that cannot be printed."""
    name = "".join(one if one.isprintable() else "\ufffd" for one in " ".join(text.split()))
    if not name or len(text) > pixels.MAX_NAME:
        raise ValueError(f"a name has 1 to {pixels.MAX_NAME} characters")
    return name


_NAME_SCHEMA = {"type": "string", "maxLength": pixels.MAX_NAME, "pattern": r"\S", "examples": ["Offer to Ann"]}
PixelName = Annotated[str, AfterValidator(_read_name), WithJsonSchema(_NAME_SCHEMA)]


class NewPixel(RequestBody):
    name: PixelName


class PixelApi:
    """The endpoints under `pixels`."""

    def __init__(self, config: Config, store: Store, ring: tokens.KeyRing) -> None:
        self._public_url = config.tracking.public_url
        self._store = store
        self._ring = ring

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/pixels", self.list_pixels),
            Route("/pixels", self.create_pixel, methods=["POST"]),
            Route("/pixels/{pixel}", self.show_pixel),
            Route("/pixels/{pixel}", self.remove_pixel, methods=["DELETE"]),
        ]

    @documented("Stand-alone pixels, the newest first", query=PageParameters, response=PixelList)
    async def list_pixels(self, request: Request) -> Response:
        page = read_query(request, PageParameters)
        most, before = page.limit, page.cursor
        found = await self._store.read(lambda connection: pixels.list_pixels(connection, most + 1, before))
        shown = found[:most]
        return list_response(
            [json_objects.pixel_object(one, self._public_url) for one in shown],
            shown[-1].id if len(found) > most else "",
        )

    @documented("Make a pixel", NewPixel, status=201, response=PixelWithLog)
    async def create_pixel(self, request: Request) -> Response:
        new = await read_body(request, NewPixel)
        try:
            made = await audited.write(
                self._store,
                request,
                AuditedChange("pixel.create"),
                lambda connection: pixels.create_pixel(connection, self._ring, new.name, datetime.now(UTC)),
                target=lambda pixel: pixel.id,
            )
        except pixels.NameTakenError as error:
            raise ApiError(409, "name_taken", str(error)) from None
        except ValueError as error:
            raise ApiError(422, "invalid", f"name: {error}") from None
        return json_response(
            json_objects.pixel_object(made, self._public_url, []), 201, {"location": f"{PATH}/pixels/{made.id}"}
        )

    @documented("A pixel with its log, quick repeats together", response=PixelWithLog)
    async def show_pixel(self, request: Request) -> Response:
        wanted = request.path_params["pixel"]
        seen, hits = await self._store.read(
            lambda connection: (pixels.find_pixel(connection, wanted), pixels.list_pixel_log(connection, wanted))
        )
        if seen is None or seen.id != wanted:
            raise HTTPException(404, "there is no such pixel")
        return json_response(json_objects.pixel_object(seen, self._public_url, hits))

    @documented("Remove a pixel and its log; its address goes on showing a picture", status=204)
    async def remove_pixel(self, request: Request) -> Response:
        wanted = request.path_params["pixel"]
        change = AuditedChange("pixel.remove", wanted)
        await audited.remove(self._store, request, change, partial(pixels.remove_pixel, pixel=wanted), "pixel")
        return Response(status_code=204)
