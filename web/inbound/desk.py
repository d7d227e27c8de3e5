"""The endpoints under `/in/`: a provider's signed word goes in, and the same rows come of it as of a live reply.

In: POST with a body in the provider's own form.  Out: 200 with how much was taken; 404 for a provider that
`[inbound]` does not name, 401 for a bad signature, 400 for what cannot be read, 503 while nothing can be kept.
A mail that we did not send is nobody's; opens and clicks of theirs are not counted, for ours are.
"""

import base64
import binascii
import hmac
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from relay import ids, log, return_path, tokens
from relay.bounce import failure
from relay.config.schema import Config
from relay.store import returns
from relay.store.events import NotKnownYet
from relay.store.queue import Try
from relay.store.returns import Clues, Tiding
from relay.store.store import Store
from relay.store.tables import EventType
from web.inbound import mailgun, postmark, sendgrid, ses, sparkpost, word
from web.inbound.sns import Fetch, Sns
from web.inbound.word import Forged, Malformed, Word

LARGEST = 10 << 20  # octets; SendGrid and SparkPost send thousands of events at once
_CLOCKS_DIFFER = timedelta(minutes=10)


class _Heard(NamedTuple):
    """A verified body: what it says, and a token that counts once."""

    words: list[Word]
    once: str = ""


class Desk:
    """The providers that the configuration names."""

    def __init__(self, config: Config, store: Store, ring: tokens.KeyRing, fetch: Fetch) -> None:
        self._config = config
        self._store = store
        self._secret = ring.secret_for(return_path.PURPOSE)
        self._sns = Sns(config.inbound.ses, fetch)
        listening: dict[str, tuple[object, Callable[[Request, bytes], Awaitable[_Heard]]]] = {
            "ses": (config.inbound.ses, self._ses),
            "sendgrid": (config.inbound.sendgrid, self._sendgrid),
            "mailgun": (config.inbound.mailgun.get_secret_value(), self._mailgun),
            "postmark": (config.inbound.postmark.get_secret_value(), self._postmark),
            "sparkpost": (config.inbound.sparkpost.get_secret_value(), self._sparkpost),
        }
        self._providers = {name: listen for name, (given, listen) in listening.items() if given}

    async def take(self, request: Request) -> Response:
        provider: str = request.path_params["provider"]
        listen = self._providers.get(provider)
        if listen is None:
            raise HTTPException(404)
        try:
            heard = await listen(request, await request.body())
            counts = await self._store.write(lambda session: self._settle(session, provider, heard))
        except Forged as error:
            log.refused_word(provider, str(error))
            return _fault(401, "forged", str(error), {"www-authenticate": 'Basic realm="webhooks"'})
        except Malformed as error:
            log.refused_word(provider, str(error))
            return _fault(400, "malformed", str(error))
        except (sa.exc.SQLAlchemyError, OSError, NotKnownYet) as error:
            log.unreadable(type(error).__name__)
            return _fault(503, "later", "this cannot be taken now; please send it again", {"retry-after": "60"})
        return JSONResponse(counts)

    # --- each provider's proof

    async def _ses(self, request: Request, body: bytes) -> _Heard:
        message = _json(body)
        if await self._sns.verify(message) != "Notification":
            if word.text(message, "Type") == "SubscriptionConfirmation":
                await self._sns.confirm(message)
            return _Heard([])
        said = word.text(message, "Message")
        if not said.lstrip().startswith("{"):
            return _Heard([])  # the words by which SES tries a new topic
        return _Heard(list(ses.words(_json(said.encode()), word.name(message, "MessageId"))))

    async def _sendgrid(self, request: Request, body: bytes) -> _Heard:
        sendgrid.verify(self._config.inbound.sendgrid, request.headers, body)
        return _Heard(list(sendgrid.words(_json(body))))

    async def _mailgun(self, request: Request, body: bytes) -> _Heard:
        data = _json(body)
        once = mailgun.verify(self._config.inbound.mailgun.get_secret_value(), data, datetime.now(UTC))
        return _Heard(list(mailgun.words(data)), once)

    async def _postmark(self, request: Request, body: bytes) -> _Heard:
        _check(request, self._config.inbound.postmark.get_secret_value())
        return _Heard(list(postmark.words(_json(body))))

    async def _sparkpost(self, request: Request, body: bytes) -> _Heard:
        _check(request, self._config.inbound.sparkpost.get_secret_value())
        return _Heard(list(sparkpost.words(_json(body))))

    # --- what comes of it

    def _settle(self, session: sa.Connection, provider: str, heard: _Heard) -> dict[str, int]:
        """How many words were news, were known or changed nothing, and were of no mail of ours."""
        counts = {"taken": 0, "known": 0, "unknown": 0}
        if heard.once and not returns.hear(session, f"{provider} token {heard.once}", datetime.now(UTC)):
            return counts | {"known": len(heard.words)}
        # In the order of time, whatever the order in which they stand.
        for one in sorted(heard.words, key=lambda one: one.at):
            delivery = self._delivery(session, one)
            if delivery is None:
                counts["unknown"] += 1
            else:
                is_new = returns.settle(session, self._tiding(provider, one, *delivery))
                counts["taken" if is_new else "known"] += 1
        if counts["unknown"] and self._store.journal.waits:
            raise NotKnownYet(provider)  # what it is about may stand there; nothing of this is kept, all comes again
        log.words(provider, **counts)
        return counts

    def _delivery(self, session: sa.Connection, one: Word) -> tuple[str, int] | None:
        domain = self._config.bounces.return_path
        told = return_path.find(self._secret, domain, one.reverse_path) if domain and one.reverse_path else None
        if told is not None:
            return told.message, told.number
        if not one.recipient:
            return None
        return returns.find(session, Clues(one.recipient, one.at, one.message_id, one.receipt))

    def _tiding(self, provider: str, one: Word, message: str, number: int) -> Tiding:
        action = {EventType.BOUNCED: failure.FAILED, EventType.DEFERRED: failure.DELAYED}.get(one.type, "")
        judged = failure.judge(one.recipient, action, one.status, one.text, remote=one.remote)
        code = judged.code or (250 if one.type is EventType.DELIVERED else 0)
        said = judged.text or f"{provider} says so: {one.reason}"
        now = datetime.now(UTC)
        tiding = Tiding(
            id=ids.new(now),
            type=one.type,
            at=min(one.at, now + _CLOCKS_DIFFER),
            message=message,
            number=number,
            tried=Try(f"{provider}: {one.remote}" if one.remote != provider else provider, returns.PHASE, code,
                      judged.status, said, 0),
            reasons=(one.reason or one.type, "report"),
            source=f"{provider} {one.id}" if one.id else "",
            tells=self._config.delivery.notices and bool(self._config.bounces.return_path),
        )  # fmt: skip
        if one.type is not EventType.BOUNCED:
            return tiding
        if one.is_held:  # its list's word is old news of the address, and no proof
            return tiding._replace(kind="soft", category="suppressed", rule=f"{provider}.held")
        return returns.failed(tiding, judged.verdict, suppress_hard=self._config.bounces.suppress_hard)


def _json(body: bytes) -> object:
    try:
        found: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not JSON: {error}") from None
    return found


def _check(request: Request, secret: str) -> None:
    """Raises Forged unless the request carries the secret, in one of the ways in which providers send theirs."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(given.strip(), validate=True).decode("utf-8", "replace")
        except binascii.Error:
            given = ""
    given = given or request.headers.get("x-messagesystems-webhook-token", "")
    if not hmac.compare_digest(given.strip().encode(), secret.encode()):
        raise Forged("the credentials are not those of [inbound]")


def _fault(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)
