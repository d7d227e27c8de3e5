"""`waypost webhooks test`: sends a made-up event. Apart from the rest, because only this speaks HTTP."""

import argparse
import asyncio
from datetime import UTC, datetime

from relay import ids, tokens
from relay.cli import command, output, webhooks
from relay.cli.command import CommandError
from relay.config.schema import Config
from relay.delivery.webhooks import payload
from relay.delivery.webhooks.client import WebhookClient
from relay.delivery.webhooks.request import WebhookResponse
from relay.delivery.webhooks.sender import make_endpoint
from relay.node import data_directory
from relay.store.database.webhook_tables import WebhookRow
from relay.store.views import webhook_event
from relay.store.webhooks import endpoints


def test_webhook(arguments: argparse.Namespace) -> int:
    config = command.load_config(arguments)
    ring = data_directory.open_key_ring(config)
    with command.open_store(config) as store:
        webhooks.store_configured(store, config)
        with store.connect() as connection:
            row = webhooks.get_webhook(connection, arguments.webhook)
    answer = asyncio.run(_send_test_event(config, ring, row))
    output.print_json({"code": answer.code, "error": answer.error, "ms": answer.took_ms, "response": answer.text})
    return 0 if answer.is_success else 1


async def _send_test_event(config: Config, ring: tokens.KeyRing, row: WebhookRow) -> WebhookResponse:
    now = datetime.now(UTC)
    to = make_endpoint(row, {endpoints.configured_id(one): one for one in config.webhook}, ring, now)
    if to is None:
        raise CommandError(f"{row.id} is in another configuration file; its secret is not known here")
    request = payload.compose_request(
        to, webhook_event.sample_event(ids.new(now), ids.new(now), now), int(now.timestamp())
    )
    assert request is not None  # every format has an event for a delivery
    client = WebhookClient(config.webhook_networks)
    try:
        return await client.send(to, request)
    finally:
        await client.close()
