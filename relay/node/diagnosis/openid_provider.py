"""The OpenID provider of the console (`[console.oidc]`): does it answer, and as what? Nobody is signed in.

In: the configuration.  Out: findings. OpenID Connect Discovery 1.0.
"""

import importlib.util
from collections.abc import Iterator

import httpx

from relay.config.schema import Config
from relay.node.diagnosis.finding import Finding, fail, note, ok

_TIMEOUT_S = 10.0
_NEEDED = ("authorization_endpoint", "token_endpoint", "jwks_uri")


def check_provider(config: Config) -> Iterator[Finding]:
    oidc = config.console.oidc
    if not oidc.issuer:
        return
    what = f"[console.oidc] issuer {oidc.issuer}"
    if importlib.util.find_spec("authlib") is None:
        yield fail(what, "authlib is not installed", "pip install 'waypost[oidc]'")
    try:
        answer = httpx.get(f"{oidc.issuer}/.well-known/openid-configuration", timeout=_TIMEOUT_S)
        answer.raise_for_status()
        found = dict(answer.json())
    except (httpx.HTTPError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        yield fail(what, f"no discovery document ({reason})", "look at the address, and whether the provider runs")
        return
    if str(found.get("issuer", "")).rstrip("/") != oidc.issuer:
        yield fail(what, f"calls itself {found.get('issuer')}", "write that into issuer")
    elif missing := [name for name in _NEEDED if not found.get(name)]:
        yield fail(what, f"its discovery document lacks {', '.join(missing)}", "it is no provider that can be used")
    else:
        yield ok(what, "answers")
    offered = found.get("scopes_supported")
    if isinstance(offered, list) and (unknown := [one for one in oidc.scopes if one not in offered]):
        yield note(what, f"does not offer the scope {', '.join(unknown)}", "leave it out of scopes")
