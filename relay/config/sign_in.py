"""The tables of `config.toml` about signing in to the console: by an OpenID provider, by a proxy that authenticates."""

import re
from datetime import timedelta
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from relay.config.base import NO_SECRET, ConfigTable
from relay.config.values import Duration, PublicUrl, Secret, Subnet
from relay.ip_addresses import is_loopback_host

RoleName = Literal["viewer", "operator", "admin"]
_HEADER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")


class OidcConfig(ConfigTable):
    """`[console.oidc]`. In the lists of roles an entry with @ is an address, or a domain; any other is a group."""

    issuer: PublicUrl | Literal[""] = ""
    client_id: str = ""
    client_secret: Secret = NO_SECRET
    name: str = Field("single sign-on", min_length=1, max_length=60)
    scopes: list[str] = ["openid", "profile", "email"]
    groups_claim: str = Field("groups", min_length=1, max_length=200)
    viewers: list[str] = []
    operators: list[str] = []
    admins: list[str] = []
    session: Duration = timedelta(hours=12)
    redirect_url: PublicUrl | Literal[""] = ""

    @field_validator("issuer")
    @classmethod
    def _check_https(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme == "http" and not is_loopback_host(parts.hostname or ""):
            raise ValueError("must be an https address: over http anybody on the way could sign in")
        return url

    @model_validator(mode="after")
    def _check_is_whole(self) -> Self:
        if not self.issuer:
            return self
        if not self.client_id:
            raise ValueError("issuer is set and client_id is not")
        if not (self.viewers or self.operators or self.admins):
            raise ValueError("nobody may sign in: name groups or addresses in viewers, operators or admins")
        if "openid" not in self.scopes:
            raise ValueError('scopes needs "openid"')
        return self


class ProxyAuthConfig(ConfigTable):
    """`[console.proxy_auth]`: a proxy that authenticates, and names the user in a header field."""

    header: str = ""
    networks: list[Subnet] = []
    role_header: str = ""
    role: RoleName = "viewer"
    sign_out_url: str = Field("", max_length=500, pattern=r"^(/[!-~]*|https?://[!-~]+)?$")

    @field_validator("header", "role_header")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if name and not _HEADER_NAME.fullmatch(name):
            raise ValueError("must be the name of a header field, of letters, digits and hyphens")
        return name

    @model_validator(mode="after")
    def _check_networks(self) -> Self:
        if self.header and not self.networks:
            raise ValueError("header is set and networks is not: name the addresses of the proxy, and no others")
        if self.role_header and not self.header:
            raise ValueError("role_header is set and header is not")
        return self
