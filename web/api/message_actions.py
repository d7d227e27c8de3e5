"""What the API does with messages: `POST messages/ID/resend`, and `DELETE messages` in a sandbox.

In: requests behind the API's gate.  Out: JSON, in the form of `web.api.answers`.
"""

from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Literal

import sqlalchemy as sa
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay import ids
from relay.config.schema import Config
from relay.store import retention
from relay.store.console import bulk_actions
from relay.store.console.audit_log import AuditedChange
from relay.store.queue import resend
from relay.store.store import Store
from relay.store.views import message_search
from relay.store.views.search_query import MessageSearch
from web import audited
from web.api.answers import ApiError, RequestBody, json_response, read_body
from web.api.message_schemas import DeletedAnswer, ResentAnswer
from web.api.messages import SearchParameters, read_search
from web.api.openapi import documented
from web.api.parameters import MustMatch, read_query
from web.api.schemas import AnswerObject
from web.api_paths import PATH

_MAX_RECIPIENTS = 100


RecipientName = Annotated[str, Field(max_length=320)]


class ResendRequest(RequestBody):
    recipients: list[RecipientName] = Field(
        default=[],
        max_length=_MAX_RECIPIENTS,
        description="who gets it again; none: those whose delivery failed, or all",
    )


MessageId = Annotated[str, MustMatch(ids.PATTERN, "must be the id of a message")]


class BulkRequest(RequestBody):
    action: Literal["retry", "hold", "release", "drop", "resend"]
    messages: list[MessageId] = Field(min_length=1, max_length=bulk_actions.MAX_MESSAGES)


class BulkItem(AnswerObject):
    message: str
    deliveries: int = Field(description="that were changed, or are sent again")
    sent_as: str | None = Field(description="the new message, with resend")
    error: str | None = Field(description="why nothing was done")


class BulkAnswer(AnswerObject):
    items: list[BulkItem]


class MessageActionApi:
    """The endpoints under `messages` that change something."""

    def __init__(self, config: Config, store: Store) -> None:
        self._is_sandbox = config.is_sandbox
        self._store = store

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/messages/{message}/resend", self.resend_message, methods=["POST"]),
            Route("/bulk/messages", self.change_messages, methods=["POST"]),
            Route("/messages/{message}", self.delete_message, methods=["DELETE"]),
            Route("/messages", self.delete_messages, methods=["DELETE"]),
        ]

    @documented(
        "Send the mail again, as a new message; it is queued at once",
        ResendRequest,
        status=202,
        response=ResentAnswer,
        needs_body=False,
    )
    async def resend_message(self, request: Request) -> Response:
        asked = await read_body(request, ResendRequest)
        wanted, by = request.path_params["message"], str(request.state.api_key)
        try:
            made = await audited.write(
                self._store,
                request,
                AuditedChange("message.resend", wanted, asked.recipients[0] if len(asked.recipients) == 1 else ""),
                lambda connection: resend.resend_message(connection, wanted, datetime.now(UTC), by, asked.recipients),
                count=lambda sent: len(sent.recipients) if sent else 0,
            )
        except resend.CannotResendError as error:
            raise ApiError(409, "conflict", str(error)) from None
        if made is None:
            raise HTTPException(404, "there is no such message")
        location = {"location": f"{PATH}/messages/{made.message}"}
        return json_response({"message": made.message, "recipients": made.recipients}, 202, location)

    @documented("Do the same to many messages, each for itself", BulkRequest, response=BulkAnswer)
    async def change_messages(self, request: Request) -> Response:
        asked = await read_body(request, BulkRequest)
        done = await audited.act_on_messages(self._store, request, asked.action, asked.messages)
        items = [
            {
                "message": one.message,
                "deliveries": one.deliveries,
                "sent_as": one.sent_as or None,
                "error": one.fault or None,
            }
            for one in done
        ]
        return json_response({"items": items})

    @documented("Delete a message of the sandbox, with all that is known of it", status=204)
    async def delete_message(self, request: Request) -> Response:
        self._check_sandbox()
        wanted = request.path_params["message"]
        work = partial(retention.delete_messages, messages=[wanted])
        if not await audited.write(self._store, request, AuditedChange("message.delete", wanted), work):
            raise HTTPException(404, "there is no such message")
        return Response(status_code=204)

    @documented(
        "Delete messages of the sandbox: those that fit, or all", query=SearchParameters, response=DeletedAnswer
    )
    async def delete_messages(self, request: Request) -> Response:
        self._check_sandbox()
        search = read_search(read_query(request, SearchParameters))
        deleted, before = 0, ""
        while True:
            work = partial(_delete_page, search=search, before=before)
            some, before = await audited.write(
                self._store, request, AuditedChange("message.delete"), work, count=lambda done: done[0]
            )
            deleted += some
            if not before:
                return json_response({"deleted": deleted})

    def _check_sandbox(self) -> None:
        if not self._is_sandbox:
            what = "mail is deleted in a sandbox only; elsewhere [privacy] says how long it is kept"
            raise ApiError(409, "conflict", what)


def _delete_page(connection: sa.Connection, search: MessageSearch, before: str) -> tuple[int, str]:
    """Deletes a chunk; returns how many messages, and where to go on."""
    found = message_search.find_messages(connection, search, retention.MAX_DELETED, before)
    return retention.delete_messages(connection, found.ids), found.next
