"""The API's consent: `GET|PUT|DELETE consent/ADDRESS`, whether opens and clicks of that address are recorded.

In: requests behind the API's gate.  Out: JSON, in the form of `web.api.answers`.
"""

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay.store.console.audit_log import AuditedChange
from relay.store.recipients import consent
from relay.store.recipients.consent import ConsentChange
from relay.store.store import Store
from relay.store.views import json_objects
from web import audited
from web.api.answers import ApiError, RequestBody, json_response, read_body
from web.api.openapi import documented
from web.api.parameters import read_address
from web.api.schemas import ConsentAnswer


class ConsentBody(RequestBody):
    consent: bool


class ConsentApi:
    """The endpoints under `consent`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/consent/{address:path}", self.show_consent),
            Route("/consent/{address:path}", self.set_consent, methods=["PUT"]),
            Route("/consent/{address:path}", self.withdraw_consent, methods=["DELETE"]),
        ]

    @documented("Whether an address consented to tracking", response=ConsentAnswer)
    async def show_consent(self, request: Request) -> Response:
        return await self._consent_response(_requested_mailbox(request))

    @documented("Say yes or no for an address; also for mail already sent", ConsentBody, response=ConsentAnswer)
    async def set_consent(self, request: Request) -> Response:
        mailbox = _requested_mailbox(request)
        stated = await read_body(request, ConsentBody)
        return await self._record_consent(request, mailbox, stated.consent)

    @documented("Delete the answer", response=ConsentAnswer)
    async def withdraw_consent(self, request: Request) -> Response:
        return await self._record_consent(request, _requested_mailbox(request), None)

    async def _record_consent(self, request: Request, mailbox: str, is_yes: bool | None) -> Response:
        wish = ConsentChange([mailbox], datetime.now(UTC), is_yes, consent.API)
        said = "forgotten" if is_yes is None else "yes" if is_yes else "no"
        await audited.write(
            self._store,
            request,
            AuditedChange("consent.set", recipient=mailbox, detail=said),
            lambda connection: consent.change_consent(connection, wish),
            count=lambda _: 1,
        )
        return await self._consent_response(mailbox)

    async def _consent_response(self, mailbox: str) -> Response:
        stated, untracked = await self._store.read(
            lambda connection: (
                consent.find_consent(connection, mailbox),
                consent.find_untracked(connection, [mailbox]),
            )
        )
        return json_response(
            {
                "address": mailbox,
                "consent": stated["is_yes"] if stated else None,
                "source": stated["source"] if stated else None,
                "at": json_objects.format_time(stated["at"]) if stated else None,
                "tracked": not untracked,
            }
        )


def _requested_mailbox(request: Request) -> str:
    try:
        return read_address(request.path_params["address"])
    except ValueError:
        raise ApiError(400, "bad_request", "the path must end with a mail address such as ann@example.com") from None
