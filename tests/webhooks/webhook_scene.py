"""A store with webhooks, whose clock a test moves; and the check of a request's signature."""

import asyncio
import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from pathlib import Path

from relay import ids, tokens, webhook_signatures
from relay.config.schema import Config
from relay.config.webhook import WebhookConfig as Configured
from relay.delivery.webhooks.sender import WebhookSender
from relay.store.database.tables import Status
from relay.store.database.webhook_tables import WebhookLogRow, WebhookRow
from relay.store.queue.queue_facts import AttemptRecord, NewMessage, Outcome
from relay.store.store import Store
from relay.store.webhooks import endpoints
from tests.message_factory import insert_messages, new_message
from tests.receiver import Arrived

SECRET = webhook_signatures.new_secret()


class Clock:
    """The time, which a test moves."""

    def __init__(self) -> None:
        self.at = datetime(2026, 11, 21, 9, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at


class WebhookScene:
    """A store with a webhook, and what happens between them."""

    def __init__(self, opened: Store, folder: Path) -> None:
        self.store, self.clock = opened, Clock()
        self.ring = tokens.open_key_ring(folder / "keys.json")

    def hook(self, url: str, source: str = endpoints.COMMAND, **more: object) -> WebhookRow:
        given = Configured.model_validate({"url": url, "secret": SECRET} | more)
        made: WebhookRow = self.store.writer.submit(
            lambda s: endpoints.add_webhook(s, given, self.clock(), source)
        ).result(60)
        self.clock.at += timedelta(seconds=1)
        return made

    def happened(self, *recipients: str, status: Status = Status.DELIVERED) -> NewMessage:
        """A message to these, and how its first attempt ended."""
        one = new_message(*recipients, at=self.clock())
        said = AttemptRecord("scripted", "dot", 250, "2.0.0", "taken", 3)
        now = self.clock()
        outcomes = [Outcome(ids.new(now), n, who, status, now, attempt=said) for n, who in enumerate(recipients)]
        insert_messages(self.store, one._replace(outcomes=outcomes))
        return one

    def tell(self, config: Config | None = None) -> None:
        """Tells all that is due, as the web role does."""

        async def run() -> None:
            sender = WebhookSender(config or Config(), self.store, self.ring, now=self.clock, jitter=lambda: 0.5)
            await sender.send_all_due()
            await sender.drain(30)  # it ends as soon as all is told

        asyncio.run(run())

    def status_of(self, hook: WebhookRow) -> endpoints.WebhookStatus:
        with self.store.connect() as connection:
            return endpoints.list_webhook_status(connection, [hook.id])[0]

    def log(self, hook: WebhookRow) -> list[WebhookLogRow]:
        with self.store.connect() as connection:
            return endpoints.list_webhook_log(connection, hook.id, 100)


def verified(arrived: Arrived, secret: str, signature: int = 0) -> bool:
    """By the words of the standard: base64 of HMAC-SHA256 over id, timestamp and body."""
    signed = b"%s.%s.%s" % (
        arrived.headers["webhook-id"].encode(),
        arrived.headers["webhook-timestamp"].encode(),
        arrived.body,
    )
    digest = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    return arrived.headers["webhook-signature"].split(" ")[signature] == "v1," + base64.b64encode(digest).decode()
