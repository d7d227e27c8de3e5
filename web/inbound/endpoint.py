"""The endpoints under `/in/`: a provider's signed event makes the same rows as a live reply does.

In: POST with a body in the provider's format.  Out: 200 with how many events were applied; 404 for a provider that
`[inbound]` does not name, 401 for a bad signature, 400 for a body that cannot be read, 413 for a body that is larger
than this provider's are, 503 while nothing can be stored. Credentials in the header are checked before the body is
read. Events of mail that we did not send change nothing. A provider's opens and clicks are not counted: we count ours.
"""

import base64
import hmac
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

import sqlalchemy as sa
from cryptography import x509
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from relay import log, metrics, return_path, tokens
from relay.config.schema import Config
from relay.store.database import errors
from relay.store.database.delivery_rows import UnknownDeliveryError
from relay.store.queue import late_reports
from relay.store.queue.late_reports import DeliveryClues
from relay.store.store import Store
from web.inbound import mailgun, postmark, provider_event, provider_report, sendgrid, ses, sparkpost
from web.inbound.certificates import Fetch
from web.inbound.provider_event import BadSignatureError, MalformedPayloadError, ProviderEvent
from web.inbound.sns import SnsVerifier

MAX_BODY = 10 << 20  # octets; SendGrid and SparkPost send thousands of events at once
_MAX_OBJECT = 1 << 20  # of one event; Postmark's may hold the start of a bounce
_MAX_SNS = 256 << 10  # the most that SNS carries
_MAX_IN_A_COMMIT = 200  # events
_MAX_IN_FLIGHT = 64 << 20  # octets of bodies that nobody has verified yet


class _VerifiedPayload(NamedTuple):
    """A verified body: its events, a token that is accepted once, and the faults of events that could not be read."""

    events: list[ProviderEvent]
    single_use_token: str = ""
    faults: Sequence[MalformedPayloadError] = ()


class _Provider(NamedTuple):
    """`check` raises BadSignatureError for a wrong header; `read_payload` verifies and reads a body."""

    max_octets: int
    check: Callable[[Request], None]
    read_payload: Callable[[bytes, Request], Awaitable[_VerifiedPayload]]


class ProviderWebhooks:
    """The providers that the configuration names."""

    def __init__(
        self,
        config: Config,
        store: Store,
        ring: tokens.KeyRing,
        fetch: Fetch,
        roots: Sequence[x509.Certificate] | None = None,
    ) -> None:
        self._config = config
        self._store = store
        self._ring = ring
        self._sns = SnsVerifier(config.inbound.ses, fetch, roots)
        self._in_flight = 0  # octets
        inbound = config.inbound
        providers = {
            "ses": (inbound.ses, _Provider(_MAX_SNS, _check_nothing, self._read_ses)),
            "sendgrid": (inbound.sendgrid, _Provider(MAX_BODY, _check_sendgrid, self._read_sendgrid)),
            "mailgun": (inbound.mailgun.get_secret_value(), _Provider(_MAX_OBJECT, _check_nothing, self._read_mailgun)),
            "postmark": (
                inbound.postmark.get_secret_value(),
                _Provider(_MAX_OBJECT, _credential_check(inbound.postmark.get_secret_value()), self._read_postmark),
            ),
            "sparkpost": (
                inbound.sparkpost.get_secret_value(),
                _Provider(MAX_BODY, _credential_check(inbound.sparkpost.get_secret_value()), self._read_sparkpost),
            ),
        }
        self._providers = {name: provider for name, (given, provider) in providers.items() if given}

    async def receive(self, request: Request) -> Response:
        name: str = request.path_params["provider"]
        provider = self._providers.get(name)
        if provider is None:
            raise HTTPException(404)
        try:
            provider.check(request)
            payload = await provider.read_payload(await self._read_body(request, provider.max_octets), request)
        except BadSignatureError as error:
            log.provider_events_refused(name, str(error))
            return _error_response(401, "forged", str(error), {"www-authenticate": 'Basic realm="webhooks"'})
        except MalformedPayloadError as error:
            log.provider_events_refused(name, str(error))
            return _error_response(400, "malformed", str(error))
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except OSError as error:  # Amazon cannot be reached, or there are too many at once; the database is asked later
            log.provider_events_refused(name, f"later: {error}")
            return _unavailable_response()
        try:
            counts = await self._apply_payload(name, payload)
        except (sa.exc.SQLAlchemyError, OSError, UnknownDeliveryError) as error:
            if not isinstance(error, UnknownDeliveryError):
                errors.log_failure(error, "inbound", name)
            return _unavailable_response()
        return JSONResponse(counts)

    async def _read_body(self, request: Request, max_octets: int) -> bytes:
        """Raises HTTPException if the body is too large, before more of it is read; OSError for too many at once."""
        declared_length = request.headers.get("content-length", "")
        if declared_length.isascii() and declared_length.isdigit() and int(declared_length[:20]) > max_octets:
            raise HTTPException(413)
        body = bytearray()
        try:
            async for octets in request.stream():
                body += octets
                self._in_flight += len(octets)
                if len(body) > max_octets:
                    raise HTTPException(413)
                if self._in_flight > _MAX_IN_FLIGHT:
                    raise OSError("too many webhooks at once")
        finally:
            self._in_flight -= len(body)
        return bytes(body)

    # --- how each provider proves that it sent the request

    async def _read_ses(self, body: bytes, _: Request) -> _VerifiedPayload:
        message = _parse_json(body)
        if await self._sns.verify(message, datetime.now(UTC)) != "Notification":
            if provider_event.text(message, "Type") == "SubscriptionConfirmation":
                await self._sns.confirm(message)
            return _VerifiedPayload([])
        inner = provider_event.text(message, "Message")
        if not inner.lstrip().startswith("{"):
            return _VerifiedPayload([])  # the test message that SES sends to a new topic
        return _VerifiedPayload(
            list(ses.parse_events(_parse_json(inner.encode()), provider_event.identifier(message, "MessageId")))
        )

    async def _read_sendgrid(self, body: bytes, request: Request) -> _VerifiedPayload:
        sendgrid.verify(self._config.inbound.sendgrid, request.headers, body)
        batch = sendgrid.parse_events(_parse_json(body))
        return _VerifiedPayload(batch.events, faults=batch.faults)

    async def _read_mailgun(self, body: bytes, _: Request) -> _VerifiedPayload:
        data = _parse_json(body)
        once = mailgun.verify(self._config.inbound.mailgun.get_secret_value(), data, datetime.now(UTC))
        return _VerifiedPayload(list(mailgun.parse_events(data)), once)

    async def _read_postmark(self, body: bytes, _: Request) -> _VerifiedPayload:
        return _VerifiedPayload(list(postmark.parse_events(_parse_json(body))))

    async def _read_sparkpost(self, body: bytes, _: Request) -> _VerifiedPayload:
        batch = sparkpost.parse_events(_parse_json(body))
        return _VerifiedPayload(batch.events, faults=batch.faults)

    # --- applying the events

    async def _apply_payload(self, provider: str, payload: _VerifiedPayload) -> dict[str, int]:
        """How many events were new, were known or changed nothing, and were of mail that is not ours."""
        if payload.faults:
            log.provider_events_refused(provider, f"{len(payload.faults)} events of a batch: {payload.faults[0]}")
        # In the order of time, however the provider sorts them. Not all in one commit: mail waits for the writer, too.
        events = sorted(payload.events, key=lambda one: one.at)
        parts = [events[at : at + _MAX_IN_A_COMMIT] for at in range(0, len(events), _MAX_IN_A_COMMIT)]
        counts = Counter(taken=0, known=0, unknown=0)
        fault: Exception | None = None
        while parts:
            part = parts.pop(0)
            try:
                counts.update(
                    await self._store.write(partial(self._apply_events, provider, payload._replace(events=part)))
                )
            except Exception as error:
                if errors.is_database_fault(error) or isinstance(error, UnknownDeliveryError):
                    raise
                if len(part) > 1:
                    parts = [[one] for one in part] + parts  # one bad event does not lose the others
                else:
                    log.fault("inbound", provider)
                    fault = error
        if fault:
            raise fault  # the provider sends all of it again; events that are applied change nothing then
        log.provider_events(provider, **counts)
        metrics.late_reports(provider, counts["taken"])
        return dict(counts) | ({"malformed": len(payload.faults)} if payload.faults else {})

    def _apply_events(self, provider: str, payload: _VerifiedPayload, connection: sa.Connection) -> dict[str, int]:
        counts = {"taken": 0, "known": 0, "unknown": 0}
        if payload.single_use_token and not late_reports.mark_processed(
            connection, f"{provider} token {payload.single_use_token}", datetime.now(UTC)
        ):
            return counts | {"known": len(payload.events)}
        for one in payload.events:
            delivery = self._find_delivery(connection, one)
            if delivery is None:
                counts["unknown"] += 1
            else:
                is_new = late_reports.apply_report(
                    connection, provider_report.make_late_report(self._config, provider, one, *delivery)
                )
                counts["taken" if is_new else "known"] += 1
        if counts["unknown"] and self._store.journal.has_mail:
            # The journal may have the delivery. Nothing is applied now; the provider sends all of it again.
            raise UnknownDeliveryError(provider)
        return counts

    def _find_delivery(self, connection: sa.Connection, one: ProviderEvent) -> tuple[str, int] | None:
        domain = self._config.bounces.return_path
        secret = self._ring.derive_secret(return_path.KEY_PURPOSE)
        token = return_path.find_in_text(secret, domain, one.reverse_path) if domain and one.reverse_path else None
        if token is not None:
            return token.message, token.number
        if not one.recipient:
            return None
        return late_reports.find_reported_delivery(
            connection, DeliveryClues(one.recipient, one.at, one.message_id, one.receipt)
        )


def _parse_json(body: bytes) -> object:
    try:
        found: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedPayloadError(f"not JSON: {error}") from None
    return found


def _check_nothing(_: Request) -> None:
    """The proof of the sender is in the body."""


def _check_sendgrid(request: Request) -> None:
    sendgrid.check(request.headers)


def _credential_check(secret: str) -> Callable[[Request], None]:
    """A check that raises BadSignatureError unless a request has the secret, in one of the forms that providers use."""

    def check(request: Request) -> None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                given = base64.b64decode(given.strip(), validate=True).decode("utf-8", "replace")
            except ValueError:
                given = ""
        given = given or request.headers.get("x-messagesystems-webhook-token", "")
        if not hmac.compare_digest(given.strip().encode(), secret.encode()):
            raise BadSignatureError("the credentials are not those of [inbound]")

    return check


def _unavailable_response() -> Response:
    return _error_response(503, "later", "this cannot be taken now; please send it again", {"retry-after": "60"})


def _error_response(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)
