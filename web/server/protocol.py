"""HTTP/1.1 for the public: uvicorn's protocol, with bounds in size, number and time.

uvicorn has no bounds before a request is complete: a client that sent a head without an end, or nothing at all, held a
connection and memory for ever. Here each step of a client has a time limit, and a head has a size limit. RFC 9110
§15.5.9 (408), RFC 6585 §5 (431).
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, Literal, NamedTuple, cast

import uvicorn
from starlette.types import ASGIApp, Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from relay.acceptor import Acceptor
from relay.deadline import NEVER, Deadline
from web import shutdown
from web.server.connections import WebConnections
from web.server.request_limits import DEFAULTS, RequestLimits

DRAIN_S = 5
Stage = Literal["idle", "head", "body", "work", "surplus", "closing"]


class ReadyAnswer(NamedTuple):
    """A whole answer that is known as soon as the request's head is there."""

    status: int
    fields: bytes  # whole lines, of the answer's own header fields; content-length is one of them
    body: bytes
    after: "asyncio.Future[None] | None" = None  # the answer goes out when this is done; it has no exception


FindReadyAnswer = Callable[[Scope], ReadyAnswer | None]


class _LimitError(Exception):
    """Raised in a callback of the parser, which then reports a malformed request."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # Any: as uvicorn has it
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        assert isinstance(config, BoundedConfig)
        self._limits = config.limits
        self._connection_limits = config.connections
        self._part: Literal["", "head", "body"] = ""  # of the request that is still coming in
        self._requests = 0  # that have begun on this connection
        self._head_octets = 0  # of the parsed head
        self._unread_octets = 0  # received while the head has no end
        self._status = 400  # of the answer if the parser fails
        self._stage: tuple[Stage, int] = ("closing", -1)
        self._deadline = Deadline(self.loop, self._on_deadline)
        self._answer_deadline: asyncio.TimerHandle | None = None

    # --- from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it
        super().connection_made(transport)
        if self.client is None:  # gone already
            transport.abort()
        elif not self._connection_limits.add_connection(self, self.client[0]):
            self._refuse(503)
        self._advance()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._part == "head":
            self._unread_octets += len(data)
            if self._unread_octets > self._limits.head_octets:
                self._refuse(431)
        else:
            self._unread_octets = 0
        self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection_limits.remove_connection(self)
        self._deadline.cancel()
        if self._answer_deadline:
            self._answer_deadline.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._answer_deadline = self.loop.call_later(self._limits.answer_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._answer_deadline:
            self._answer_deadline.cancel()

    # --- from the parser; what these raise ends the request

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._part = "head"
        self._requests += 1
        self._head_octets = 0
        if len(self.pipeline) >= self._limits.pipelined:
            self._status = 503
            raise _LimitError

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        if len(self.headers) >= self._limits.head_fields:
            self._status = 431
            raise _LimitError
        super().on_header(name, value)

    def _count(self, octets: int) -> None:
        self._head_octets += octets
        if self._head_octets > self._limits.head_octets:
            self._status = 431
            raise _LimitError

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._part = "body"

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._part = ""

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._status)

    # --- from the application

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # Any: as uvicorn has it
        """Starts to answer a request: without a task, where the answer is ready."""
        assert isinstance(self.config, BoundedConfig)
        if self.config.find_ready_answer and not self.flow.write_paused:
            try:
                ready = self.config.find_ready_answer(cast(Scope, cycle.scope))
            except Exception:  # noqa: BLE001  the application meets the same fault, and reports it
                ready = None
            if ready is not None:
                if ready.after is None or ready.after.done():
                    self._send_ready(cycle, ready)
                else:
                    ready.after.add_done_callback(lambda _: self._send_ready(cycle, ready))
                return
        super()._start_asgi_task(cycle, app)

    def _send_ready(self, cycle: RequestResponseCycle, ready: ReadyAnswer) -> None:
        """Writes a whole answer at once, where uvicorn writes its head and its body in turn, and checks each field."""
        if cycle.disconnected or self.transport.is_closing():
            return
        fields = b"".join([b"%s: %s\r\n" % field for field in self.server_state.default_headers])
        close = b"" if cycle.keep_alive else b"connection: close\r\n"
        self.transport.write(STATUS_LINE[ready.status] + fields + ready.fields + close + b"\r\n" + ready.body)
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        # Replaces uvicorn's method, which sets a timer for an idle connection with each answer. Here the deadline
        # does that.
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
            if self.pipeline:
                self._start_asgi_task(*self.pipeline.pop())
        self._advance()

    # --- the connection's next step, and its time limit

    def _advance(self) -> None:
        """Notes the connection's next step, and sets the time limit for it."""
        stage = self._find_stage()
        if (stage, self._requests) == self._stage:
            return
        self._stage = (stage, self._requests)
        if stage in ("idle", "head"):
            self._connection_limits.mark_waiting(self)
        else:
            self._connection_limits.mark_working(self)
        self._deadline.set(self.loop.time() + self._seconds_for(stage))

    def _seconds_for(self, stage: Stage) -> float:
        limits = self._limits
        if stage == "work":
            return NEVER
        if stage == "idle":
            return limits.idle_s if self._requests else limits.first_s
        if stage == "head":
            return limits.head_s
        if stage == "body":
            return limits.body_s
        return limits.surplus_s if stage == "surplus" else limits.close_s

    def _find_stage(self) -> Stage:
        if self.transport.is_closing():
            return "closing"
        is_answered = self.cycle is None or self.cycle.response_complete
        if self._part == "body":
            return "surplus" if is_answered else "body"
        if not is_answered:
            return "work"
        return "head" if self._part == "head" else "idle"

    def _on_deadline(self) -> None:
        stage, _ = self._stage
        if stage == "closing":
            self.transport.abort()
        elif stage in ("head", "body"):
            self._refuse(408)
        else:
            self.transport.close()
        self._advance()

    def drop(self) -> None:
        """Closes the connection to make room for another one."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def _refuse(self, status: int) -> None:
        """Closes the connection. Answers first if no earlier request still waits for its answer."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if self._part == "body":  # of the last request; earlier ones may still wait
            may_answer = not self.pipeline and not cycle.response_started
        else:
            may_answer = cycle is None or cycle.response_complete
        if may_answer:
            text = HTTPStatus(status).phrase.encode()
            fields = b"".join(b"%s: %s\r\n" % field for field in self.server_state.default_headers)
            length = b"content-length: %d\r\n" % len(text)
            self.transport.write(
                STATUS_LINE[status]
                + fields
                + b"content-type: text/plain\r\n"
                + length
                + b"connection: close\r\n\r\n"
                + text
            )
        self.transport.close()


class BoundedConfig(uvicorn.Config):
    """uvicorn's configuration with our limits; each connection gets it."""

    def __init__(self, app: ASGIApp, connections: WebConnections, limits: RequestLimits, accepts_per_turn: int) -> None:
        """If the application has a method `find_ready_answer`, that is called first for each request."""
        super().__init__(
            app,
            http=BoundedProtocol,
            ws="none",
            log_config=None,
            log_level="error",  # its warnings are about what strangers send
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=accepts_per_turn,
            timeout_graceful_shutdown=DRAIN_S,
        )
        self.connections = connections
        self.limits = limits
        self.find_ready_answer: FindReadyAnswer | None = getattr(app, "find_ready_answer", None)


class Server(uvicorn.Server):
    """An application on a socket: `serve(sockets=[…])`. Signals are the node's."""

    def __init__(
        self, app: ASGIApp, connections: WebConnections, limits: RequestLimits = DEFAULTS, accepts_per_turn: int = 16
    ) -> None:
        super().__init__(BoundedConfig(app, connections, limits, accepts_per_turn))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.lifespan.state[shutdown.STATE_KEY] = lambda: self.should_exit
        await super().startup([])

        def make_protocol() -> BoundedProtocol:
            return BoundedProtocol(self.config, self.server_state, self.lifespan.state)

        # uvicorn calls `close` of a server, and nothing else.
        acceptors = [Acceptor(one, make_protocol, self.config.backlog) for one in sockets or ()]
        self.servers = cast(list[asyncio.Server], acceptors)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
