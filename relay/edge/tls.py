"""TLS of a listener: its certificate, read again when its files change, and the layer under a connection."""

import asyncio
import ssl
from asyncio import sslproto

from relay import log
from relay.config.smtp import ListenConfig

_HANDSHAKE_S = 60
_SHUTDOWN_S = 2.0  # for a client that does not answer our close_notify (RFC 8446 §6.1); it has its replies


class SmallBufferTls(sslproto.SSLProtocol):
    """asyncio's TLS with a smaller buffer: 256 KB for each of 2,000 idle clients would be half a gigabyte."""

    max_size = 1 << 15

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: asyncio.Protocol,
        context: ssl.SSLContext,
        handshake: "asyncio.Future[None]",
    ) -> None:
        """`handshake` is done, or fails, with the handshake."""
        super().__init__(
            loop,
            connection,
            context,
            handshake,
            server_side=True,
            ssl_handshake_timeout=_HANDSHAKE_S,
            ssl_shutdown_timeout=_SHUTDOWN_S,
        )

    def feed_early_bytes(self, octets: bytes) -> None:
        """Feeds octets of the handshake that were read before this protocol was in place."""
        while octets:
            room = self.get_buffer(len(octets))
            size = min(len(room), len(octets))
            room[:size] = octets[:size]
            self.buffer_updated(size)
            octets = octets[size:]


def create_context(listen: ListenConfig) -> ssl.SSLContext:
    """The listener's TLS. Raises OSError (ssl.SSLError is one) for files that cannot be used."""
    assert listen.certificate and listen.key  # the schema requires them
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(listen.certificate, listen.key)
    return context


class Certificate:
    """The certificate that new connections get. One that cannot be used leaves the last good one in place."""

    def __init__(self, listen: ListenConfig) -> None:
        self._listen = listen
        self._stamp = self._file_stamps()
        self._context = create_context(listen)

    def current_context(self) -> ssl.SSLContext:
        """For the next connection: a look at the files' times costs microseconds, so it is always the newest."""
        stamp = self._file_stamps()
        if stamp != self._stamp:
            self._stamp = stamp
            self.reload()
        return self._context

    def reload(self) -> None:
        """Reads the files again."""
        try:
            self._context = create_context(self._listen)
        except OSError as error:  # half renewed: the key follows soon, and changes the stamps again
            log.certificate_unusable(str(self._listen.address), error.strerror or str(error))
        else:
            log.certificate_renewed(str(self._listen.address))

    def _file_stamps(self) -> tuple[tuple[int, int, int], ...] | None:
        try:
            stats = [path.stat() for path in (self._listen.certificate, self._listen.key) if path]
        except OSError:
            return None
        return tuple((stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in stats)
