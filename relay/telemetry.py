"""Traces for OpenTelemetry (an extra: waypost[otel]): one for each message, from DATA to its last attempt.

In: spans, as they end.  Out: OTLP over HTTP to `[telemetry] endpoint`. A message's trace and first span follow from its
id, so that an attempt hours later, in another process or on another machine, belongs to the same trace, and nothing has
to be stored: the trace of message M is `77617970` and M's twelve octets in hexadecimal digits. No span has an address.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

from relay import __version__, ids, log_lines
from relay.config.schema import Config
from relay.envelope import AcceptedMessage
from relay.operator_error import OperatorError
from relay.reply import RefusedError, Reply

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

Accept = Callable[[AcceptedMessage], Coroutine[None, None, Reply]]

_PREFIX = b"wayp"
_MAX_SEND_S = 2  # to a collector; a stop waits no longer for one that is away
_provider: "TracerProvider | None" = None
_tracer: "Tracer | None" = None
_ratio = 1.0
_NO_SPAN = contextlib.nullcontext(None)
_data_began: ContextVar[int] = ContextVar("_data_began", default=0)  # nanoseconds since 1970


def check(config: Config) -> None:
    """Raises OperatorError if traces are wanted and cannot be sent."""
    if not config.telemetry.endpoint:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http import trace_exporter  # noqa: F401
        from opentelemetry.sdk import trace  # noqa: F401
    except ImportError:
        raise OperatorError("[telemetry] endpoint needs OpenTelemetry: pip install 'waypost[otel]'") from None


def start(config: Config) -> None:
    """Begins to send this process's spans. Called after the fork."""
    global _provider, _tracer, _ratio
    if not config.telemetry.endpoint:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class Ids(RandomIdGenerator):
        """The first span of a message has the ids that follow from the message's own."""

        def generate_trace_id(self) -> int:
            return int(_first.get()[0] or super().generate_trace_id())

        def generate_span_id(self) -> int:
            return int(_first.get()[1] or super().generate_span_id())

    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # a collector that is away is no fact of mail
    about = Resource.create(
        {"service.name": "waypost", "service.version": __version__, "host.name": config.relay.hostname}
    )
    _provider = TracerProvider(resource=about, id_generator=Ids())
    endpoint = f"{config.telemetry.endpoint}/v1/traces"
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=_MAX_SEND_S)))
    _tracer, _ratio = _provider.get_tracer("waypost"), config.telemetry.sample


def stop() -> None:
    """Sends what is left. It may take seconds."""
    global _provider, _tracer
    if _provider is not None:
        _provider.shutdown()
    _provider = _tracer = None


def begin_data() -> None:
    """The trace of the next message of this task begins now."""
    if _tracer is not None:
        _data_began.set(time.time_ns())


def trace_messages(accept: Accept) -> Accept:
    """The same function, with a span around each message: the first of its trace."""
    if _tracer is None:
        return accept

    async def traced(accepted: AcceptedMessage) -> Reply:
        with _first_span(accepted) as span:
            try:
                reply = await accept(accepted)
            except RefusedError as refusal:
                _set_reply(span, refusal.reply)
                raise
            _set_reply(span, reply)
            return reply

    return traced


def span(name: str) -> contextlib.AbstractContextManager["Span | None"]:
    """A span of the message that this task is about; None where there is none, or it is not sampled."""
    return _NO_SPAN if _tracer is None else _span(name)


@contextlib.contextmanager
def _span(name: str) -> Iterator["Span | None"]:
    message = log_lines.common_field("message")
    if _tracer is None or not message or not _is_sampled(message):
        yield None
        return
    from opentelemetry.trace import SpanKind

    kind = SpanKind.CLIENT if name == "deliver" else SpanKind.INTERNAL
    with _tracer.start_as_current_span(name, context=_message_context(message), kind=kind) as made:
        yield made


def trace_id(message: str) -> int:
    """The trace of that message, 128 bits."""
    return int.from_bytes(_PREFIX + ids.to_octets(message), "big")


# --- ids

_first: ContextVar[tuple[int, int]] = ContextVar("_first", default=(0, 0))  # trace and span, of a first span only


def _span_id(message: str) -> int:
    return int.from_bytes(ids.to_octets(message)[-8:], "big") or 1


def _is_sampled(message: str) -> bool:
    return _span_id(message) % 10_000 < _ratio * 10_000


def _message_context(message: str) -> "Context":
    """The message's first span, of any process, as the parent of others."""
    from opentelemetry import trace

    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
    first = trace.SpanContext(trace_id(message), _span_id(message), is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(trace.NonRecordingSpan(first))


def _set_reply(span: "Span | None", reply: Reply) -> None:
    if span is not None:
        span.set_attribute("smtp.response.code", reply.code)


@contextlib.contextmanager
def _first_span(accepted: AcceptedMessage) -> Iterator["Span | None"]:
    assert _tracer is not None
    if not _is_sampled(accepted.id):
        yield None
        return
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanKind

    token = _first.set((trace_id(accepted.id), _span_id(accepted.id)))
    try:
        span = _tracer.start_span(
            "receive",
            context=Context(),
            kind=SpanKind.SERVER,
            start_time=_data_began.get() or None,
            attributes={
                "messaging.system": "smtp",
                "messaging.message.id": accepted.id,
                "messaging.message.body.size": len(accepted.octets),
                "waypost.recipients": len(accepted.envelope.recipients),
            },
        )
    finally:
        _first.reset(token)
    try:
        yield span
    finally:
        span.end()
