"""The floors of the program: a module imports only from floors below its own (docs/architecture.md#floors)."""

FLOORS = {
    "relay.__main__": 5,
    "relay.cli": 4,
    "relay.node": 3,
    "web": 3,
    "relay.edge": 2,
    "relay.delivery": 2,
    "relay.tracking": 2,
    "relay.rewrite": 1,
    "relay.bounce": 1,
    "relay.store": 1,
}

# Packages that know what stands directly in web, and not each other; but for these pairs of modules.
WEB_PARTS = {"web.public", "web.console", "web.api", "web.inbound", "web.library", "web.server"}
WEB_EXCEPTIONS = {("web.public.ready_answers", "web.server.protocol")}  # for the type of a ready answer
# What floor 3 may not reach: the web answers without the mail side.
FORBIDDEN = {"web": ("relay.edge", "relay.delivery", "relay.node", "relay.cli")}
