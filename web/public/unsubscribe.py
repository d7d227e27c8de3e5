"""Unsubscribing: a page that asks, its form, and one-click.  RFC 8058, RFC 2369.

In: a token in a path, and for POST a form.  Out: GET changes nothing. POST acts at once, without cookie or redirect;
a second one changes nothing more. "Do not track me" is a choice of its own, apart from unsubscribing.

A POST with an empty body unsubscribes. RFC 8058 §3.1 requires `List-Unsubscribe=One-Click` in the body, but some
programs send none. Nobody POSTs to this address for another purpose, and the page offers to undo it. A body with
something else in it changes nothing.
"""

import base64
import fnmatch
import urllib.parse
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from relay import hit_verdict, ids, log, tokens
from relay.attribution import delivery_verdict
from relay.config.schema import Config
from relay.config.unsubscribe import UnsubscribeConfig
from relay.edits import Kind
from relay.event_type import EventType
from relay.store.database import errors
from relay.store.recipients import stream_preferences
from relay.store.recipients.stream_preferences import PreferenceChange, StreamPreferences
from relay.store.store import Store
from relay.store.tracking.hit_facts import Hit, TrackingRequest
from relay.store.views import message_list
from web import visitors
from web.public.tracking import HitRecorder, TokenReader
from web.rendering import SenderIdentity, TemplateRenderer

_UNSUBSCRIBE, _RESUBSCRIBE = "unsubscribe", "resubscribe"
_DONT_TRACK, _TRACK = "dont-track", "track"
_PREFERENCES, _UNSUBSCRIBE_ALL = "preferences", "unsubscribe-all"
_TRACKING = {_DONT_TRACK: "stop_tracking", _TRACK: "resume_tracking"}  # as the store names them
_ACTIONS = (_UNSUBSCRIBE, *_TRACKING, _RESUBSCRIBE, _PREFERENCES, _UNSUBSCRIBE_ALL)
_MAX_FIELDS = 90
_MAX_STREAMS = 40
_STILL_UNKNOWN = timedelta(days=1)  # a younger message's facts may wait in a journal


class _RecipientState(NamedTuple):
    """The recipient, as the database has them."""

    recipient: message_list.RecipientPreferences | None = None
    preferences: StreamPreferences = StreamPreferences([], from_all=False)
    is_expired: bool = False  # the message was deleted: its recipient is not known any more
    is_sure: bool = True  # False: the database does not answer, and the message may have been deleted


class UnsubscribeEndpoint:
    """The endpoints under `/u/`."""

    def __init__(
        self,
        config: Config,
        store: Store,
        reader: TokenReader,
        hits: HitRecorder,
        renderer: TemplateRenderer,
        sender: SenderIdentity,
    ) -> None:
        self._exempt = config.unsubscribe.exempt
        self._sender = sender
        self._titles = {one.stream: one.title for one in config.unsubscribe.title}
        self._keep_events = config.privacy.keep_events
        self._store = store
        self._reader = reader
        self._hits = hits
        self._renderer = renderer

    async def answer(self, request: Request) -> Response:
        """GET and HEAD show the page that asks; POST acts."""
        token = self._reader.read_token(Kind.UNSUBSCRIBE, request.path_params["token"], request)
        if token is None:
            return self._reader.bad_token_response(request)
        if token.recipient == tokens.ANY_RECIPIENT:
            return self._renderer.render_localized(
                request, "no_recipient.html", 400 if request.method == "POST" else 200
            )
        state = await self._find_recipient(token)
        if request.method == "POST":
            return await self._apply_request(token, request, state)
        if request.method == "GET":
            self._hits.record_observation(token, delivery_verdict.PAGE)
        return self._expired_response(request) if state.is_expired else self._render_page(request, state)

    async def _apply_request(self, token: tokens.Token, request: Request, state: _RecipientState) -> Response:
        form = await _read_form(request)
        action, one_click = _read_action(form)
        if state.is_expired and action:
            if one_click:
                return PlainTextResponse("Not done: the sender no longer knows to whom this mail went.\n", 410)
            return self._expired_response(request)
        if (
            not state.is_sure
        ):  # the message may be gone: then the choice has no effect, and the page must not say that it has
            return self._unavailable_response(request, one_click=one_click)
        try:
            if action == _UNSUBSCRIBE:
                await self._unsubscribe(token, request, "one_click" if one_click else "page")
            elif action in _TRACKING:
                await self._store.record(
                    _TRACKING[action], TrackingRequest(datetime.now(UTC), token.message, token.recipient)
                )
            elif action:
                await self._store.record("preferences", self._preference_change(token, request, action, form))
            else:
                return self._render_page(request, state, status=400)
        except (OSError, sa.exc.SQLAlchemyError) as error:
            # Neither database nor disk has it: the page must not say that it is done.
            log.fact_lost(action, errors.describe_error(error))
            return self._unavailable_response(request, one_click=one_click)
        if one_click:
            return PlainTextResponse("You are unsubscribed.\n", headers={"cache-control": "no-store"})
        return self._render_page(request, await self._find_recipient(token), done_action=action)

    def _preference_change(
        self, token: tokens.Token, request: Request, action: str, form: Mapping[str, str]
    ) -> PreferenceChange:
        agent = visitors.read_visit(token.kind, request.headers).user_agent
        streams = {name[5:]: value for name, value in form.items() if name.startswith("seen-")}
        now = datetime.now(UTC)
        return PreferenceChange(
            ids.new(now),
            now,
            token.message,
            token.recipient,
            keep=[stream for n, stream in streams.items() if f"keep-{n}" in form],
            leave=[stream for n, stream in streams.items() if f"keep-{n}" not in form],
            leave_all=action == _UNSUBSCRIBE_ALL,
            undo=action == _RESUBSCRIBE,
            user_agent=agent[: visitors.MAX_USER_AGENT] if self._hits.has_recipient_tokens else "",
            ip=self._hits.stored_ip(request),
        )

    async def _unsubscribe(self, token: tokens.Token, request: Request, source: str) -> None:
        agent = visitors.read_visit(token.kind, request.headers).user_agent
        now = datetime.now(UTC)
        hit = Hit(
            id=ids.new(now),
            type=EventType.UNSUBSCRIBED,
            at=now,
            message=token.message,
            number=token.recipient,
            verdict=hit_verdict.HUMAN,  # somebody decided to POST, whichever program sent it
            reasons=(source,),
            user_agent=agent[: visitors.MAX_USER_AGENT] if self._hits.has_recipient_tokens else "",
            ip=self._hits.stored_ip(request),
        )
        await self._store.record("hit", hit)

    async def _find_recipient(self, token: tokens.Token) -> _RecipientState:
        """The recipient as the database has them; without a recipient if it does not answer in time."""

        def look(connection: sa.Connection) -> _RecipientState:
            recipient = message_list.find_recipient_preferences(connection, token.message, token.recipient)
            if recipient is None:
                age = datetime.now(UTC) - ids.time_of(token.message)
                return _RecipientState(is_expired=age > _STILL_UNKNOWN)
            preferences = stream_preferences.read_preferences(
                connection, token.message, token.recipient, datetime.now(UTC)
            )
            return _RecipientState(recipient, preferences)

        try:
            return await self._store.read_in_time(look)
        except (sa.exc.SQLAlchemyError, TimeoutError):
            age = datetime.now(UTC) - ids.time_of(token.message)
            return _RecipientState(is_sure=age < self._keep_events)

    def _unavailable_response(self, request: Request, *, one_click: bool) -> Response:
        if one_click:
            return PlainTextResponse("Not done. Please try again later.\n", 503, headers={"retry-after": "60"})
        return self._renderer.render_localized(request, "try_later.html", 503, {"retry-after": "60"})

    def _expired_response(self, request: Request) -> Response:
        return self._renderer.render_localized(request, "expired.html", 410)

    def _render_page(
        self, request: Request, state: _RecipientState, *, status: int = 200, done_action: str = ""
    ) -> Response:
        recipient, preferences = state.recipient, state.preferences
        from_all = preferences.from_all or done_action == _UNSUBSCRIBE_ALL
        streams = [
            one for one in preferences.streams if not any(fnmatch.fnmatch(one.name, exempt) for exempt in self._exempt)
        ]
        return self._renderer.render_localized(
            request,
            "unsubscribe.html",
            status,
            recipient=mask_recipient(recipient.recipient) if recipient and "@" in recipient.recipient else "",
            unsubscribed=bool(recipient and recipient.unsubscribed) or from_all or done_action == _UNSUBSCRIBE,
            untracked=bool(recipient and recipient.untracked and done_action != _TRACK) or done_action == _DONT_TRACK,
            may_track=bool(recipient and recipient.asked_not_to_be) or done_action == _DONT_TRACK,
            from_all=from_all,
            streams=streams[:_MAX_STREAMS],
            titles=self._titles,
            sender=self._sender.or_author(recipient.author) if recipient else self._sender,
            stream_title=self._titles.get(recipient.stream, "") if recipient else "",
            done=done_action,
        )


def configured_sender(config: UnsubscribeConfig) -> SenderIdentity:
    """Who sends, as far as the configuration says."""
    if config.logo is None:
        return SenderIdentity(config.sender)
    octets = base64.b64encode(config.logo.octets).decode()
    return SenderIdentity(config.sender, logo=f"data:{config.logo.media_type};base64,{octets}")


def mask_recipient(recipient: str) -> str:
    """`a***@example.com`: its owner recognises it, and anybody else who has the link learns little."""
    local, at, domain = recipient.rpartition("@")
    return f"{local[:1]}***@{domain}" if at else "***"


def _read_action(form: dict[str, str]) -> tuple[str, bool]:
    """What the form asks for, and whether it is one-click; empty if it asks for nothing that we know."""
    if not form or form.get("list-unsubscribe", "").lower() == "one-click":
        return _UNSUBSCRIBE, True
    action = form.get("action", "")
    return (action if action in _ACTIONS else ""), False


async def _read_form(request: Request) -> dict[str, str]:
    """The form's fields by lower-case name, in either encoding of forms; a body of another type is read as a form."""
    fields: Iterable[tuple[str, object]]
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        fields = (await request.form(max_files=4, max_fields=_MAX_FIELDS)).items()
    else:
        body = (await request.body()).decode("utf-8", "replace")
        try:
            fields = urllib.parse.parse_qsl(body, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
        except ValueError:
            raise HTTPException(400) from None
    return {name.lower(): value.strip() for name, value in fields if isinstance(value, str)}
