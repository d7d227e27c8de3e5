"""The server that the dialogs need beside `relay`: its listeners, its limits and its upstream."""

from typing import NamedTuple

from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost

# One server has all that `relay` has not: networks of others, a user, TLS, PROXY, short patience, small limits.
LISTENERS = {
    "stranger": "",
    "starttls": 'tls = "starttls"\n',
    "implicit": 'tls = "implicit"\n',
    "proxied": 'tls = "starttls"\nproxy_protocol = true\n',
    "proxied_implicit": 'tls = "implicit"\nproxy_protocol = true\n',
    "proxied_elsewhere": 'proxy_protocol = true\nproxy_networks = ["192.0.2.1"]\n',
}

ACCESS = """[access]
networks = ["192.0.2.0/24"]
max_recipients = 2
max_size = "64KB"
max_in_flight = "80KB"
idle_timeout = "4s"
[[access.user]]
name = "shop"
senders = ["@shop.test"]
"""


class Guarded(NamedTuple):
    """The server, the ports of its listeners, and its upstream."""

    relay: Waypost
    ports: dict[str, int]
    upstream: ScriptedUpstream
