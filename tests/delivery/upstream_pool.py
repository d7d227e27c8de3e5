"""Scenes of the pool of upstreams: an upstream's table, a mail, and a run."""

import asyncio
from collections.abc import Awaitable, Callable

from relay.address import Mailbox
from relay.config.smtp import UpstreamConfig as Settings
from relay.config.values import HostPort
from relay.delivery.smtp.failover import Upstreams
from relay.delivery.smtp.negotiation import OutgoingMail
from relay.envelope import Login, Recipient


def table(port: int, **keys: object) -> Settings:
    return Settings.model_validate({"address": HostPort("127.0.0.1", port), "tls": "off", **keys})


def mail(*recipients: str, login: Login | None = None, octets: bytes = b"Subject: x\r\n\r\nx\r\n") -> OutgoingMail:
    async def render(_seven_bit: bool) -> bytes:
        return octets

    return OutgoingMail("app@sender.test", [Recipient(Mailbox(one)) for one in recipients], render, login=login)


def play(scene: Callable[[Upstreams], Awaitable[None]], *tables: Settings) -> None:
    """Runs a scene with these upstreams, and says goodbye."""

    async def run() -> None:
        upstreams = Upstreams(tables, "relay.test")
        try:
            await scene(upstreams)
        finally:
            await upstreams.close()

    asyncio.run(run())
