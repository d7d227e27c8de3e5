"""All resources of the API."""

from starlette.routing import BaseRoute

from relay import tokens
from relay.config.schema import Config
from relay.store.store import Store
from web.api.audit import AuditApi
from web.api.consent import ConsentApi
from web.api.event_stream import EventStreamApi
from web.api.events import EventApi
from web.api.health import HealthApi
from web.api.keys import ApiKeyApi
from web.api.message_actions import MessageActionApi
from web.api.message_content import MessageContentApi
from web.api.messages import MessageApi
from web.api.pixels import PixelApi
from web.api.queue import QueueApi
from web.api.refusals import RefusalApi
from web.api.reports import ReportApi
from web.api.statistics import StatisticApi
from web.api.suppressions import SuppressionApi
from web.api.webhooks import WebhookApi
from web.event_feed import EventFeed


def api_resources(config: Config, store: Store, ring: tokens.KeyRing, feed: EventFeed) -> list[list[BaseRoute]]:
    """The routes of each resource."""
    return [
        MessageApi(store).routes(),
        MessageActionApi(config, store).routes(),
        MessageContentApi(config, store, ring).routes(),
        EventApi(store).routes(),
        EventStreamApi(store, feed).routes(),
        SuppressionApi(store).routes(),
        QueueApi(config, store).routes(),
        ReportApi(store).routes(),
        RefusalApi(store).routes(),
        StatisticApi(store).routes(),
        HealthApi(config, store).routes(),
        PixelApi(config, store, ring).routes(),
        ConsentApi(store).routes(),
        WebhookApi(config, store, ring).routes(),
        ApiKeyApi(store).routes(),
        AuditApi(store).routes(),
    ]
