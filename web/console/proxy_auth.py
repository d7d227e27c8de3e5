"""Sign-in by a proxy that authenticates: it names the user in a header field (`[console.proxy_auth]`).

In: a request.  Out: the user whom the proxy names. The field is believed from the proxy's own addresses only: from
anybody else it is as if it were not there.
"""

from typing import NamedTuple

from starlette.requests import Request

from relay import ip_addresses
from relay.config.sign_in import ProxyAuthConfig
from relay.store.console.roles import AccountRole

MAX_NAME = 200  # characters


class ProxyUser(NamedTuple):
    """Whom the proxy names; `role` is None where it does not say."""

    name: str
    role: AccountRole | None


def read_user(request: Request, config: ProxyAuthConfig) -> ProxyUser | None:
    """The user; None if the request comes from elsewhere, or names nobody, or several."""
    if not config.header or request.client is None:
        return None
    # The connection's own address: X-Forwarded-For says whom the proxy serves, and not that this is the proxy.
    peer = ip_addresses.parse_ip(request.client.host)
    if peer is None or not ip_addresses.is_in(peer, config.networks):
        return None
    names = request.headers.getlist(config.header)
    name = names[0].strip() if len(names) == 1 else ""
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        return None
    said = request.headers.get(config.role_header, "").strip().lower() if config.role_header else ""
    return ProxyUser(name, AccountRole(said) if said in set(AccountRole) else None)
