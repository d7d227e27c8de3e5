"""The tables of `config.toml`: every key, its type, its default, and the faults that one table can show."""

import re
from datetime import timedelta
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal, Self

import argon2
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from relay.config.values import (
    Address,
    Domain,
    Duration,
    HostPort,
    Network,
    OptionalDomain,
    OptionalMailbox,
    PublicUrl,
    Rate,
    RenewedSecret,
    Secret,
    Senders,
    SigningKey,
    Size,
    Stream,
    Subnet,
    VerifyingKey,
    read_network,
)
from relay.config.webhook import Webhook

Dialect = Literal["postmark", "mailgun", "mandrill", "sendgrid", "sparkpost", "postal", "cuttlefish"]
Provider = Literal["", "none", Dialect]
Tls = Literal["off", "starttls", "implicit"]
_NO_SECRET = SecretStr("")


class Table(BaseModel):
    """A table: frozen, and closed to keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, validate_default=False)


class Relay(Table):
    hostname: str = Field("localhost", min_length=1, pattern=r"^[A-Za-z0-9.\-_:\[\]]+$")
    data_dir: Path = Path("var")
    workers: int = Field(1, ge=1, le=64)
    drain: Duration = timedelta(seconds=20)


class Database(Table):
    url: Secret = _NO_SECRET

    @field_validator("url")
    @classmethod
    def _is_one_we_speak(cls, url: SecretStr) -> SecretStr:
        if not re.match(r"$|sqlite:///|postgresql\+psycopg://", url.get_secret_value()):
            raise ValueError('must be "" or "postgresql+psycopg://user:password@host/database"')
        return url


class Listen(Table):
    address: Address = HostPort("127.0.0.1", 2525)
    tls: Tls = "off"
    certificate: Path | None = None
    key: Path | None = None
    proxy_protocol: bool = False
    proxy_networks: list[Subnet] = [read_network("127.0.0.0/8"), read_network("::1/128")]

    @model_validator(mode="after")
    def _has_certificate(self) -> Self:
        if self.tls != "off" and not (self.certificate and self.key):
            raise ValueError(f'tls = "{self.tls}" needs certificate and key (paths of PEM files)')
        return self


class User(Table):
    name: str = Field(min_length=1)
    password_hash: str
    senders: list[Senders] = ["*"]
    stream: Stream = ""
    override: bool = False

    @field_validator("password_hash")
    @classmethod
    def _is_argon2(cls, text: str) -> str:
        try:
            argon2.extract_parameters(text)
        except argon2.exceptions.InvalidHashError:
            raise ValueError("must be an argon2 hash; `waypost user add NAME --smtp` prints one") from None
        return text


class Access(Table):
    networks: list[Subnet] = [read_network("127.0.0.0/8"), read_network("::1/128")]
    auth: Literal["none", "users", "upstream"] = "users"
    max_size: Size = Field(25 << 20, ge=1024)
    max_recipients: int = Field(1000, ge=1)
    max_connections_per_ip: int = Field(100, ge=1)
    override: bool = False
    max_in_flight: Size = 256 << 20
    idle_timeout: Duration = timedelta(minutes=5)  # RFC 5321 §4.5.3.2.7
    user: list[User] = []

    @field_validator("idle_timeout")
    @classmethod
    def _lets_clients_think(cls, span: timedelta) -> timedelta:
        if span < timedelta(seconds=1):
            raise ValueError('must be "1s" or more; RFC 5321 asks for "5m"')
        return span

    @model_validator(mode="after")
    def _has_room_for_a_message(self) -> Self:
        if self.max_in_flight < self.max_size:
            raise ValueError("max_in_flight must not be less than max_size: no message of that size could come in")
        return self

    def may_override(self, user: str) -> bool:
        """True if mail of that account ("" is a network without AUTH) may go to suppressed addresses."""
        return next((one.override for one in self.user if one.name == user), False) if user else self.override

    @field_validator("user")
    @classmethod
    def _are_told_apart(cls, users: list[User]) -> list[User]:
        names = [user.name for user in users]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"name {sorted(twice)[0]!r} is given twice")
        return users

    @field_validator("networks")
    @classmethod
    def _are_not_the_internet(cls, networks: list[Network]) -> list[Network]:
        for network in networks:
            # No organisation holds more than a /8 (IPv4); a /16 is far more than any in IPv6.
            if network.prefixlen < (8 if network.version == 4 else 16):
                raise ValueError(
                    f"{network} would make this an open relay; name your own networks and give others a [[access.user]]"
                )
        return networks


class Upstream(Table):
    name: str = Field("primary", min_length=1)
    address: Address
    tls: Tls = "starttls"
    ca_file: Path | None = None
    username: str = ""
    password: Secret = _NO_SECRET
    senders: list[Senders] = ["*"]
    auth: Literal["auto", "plain", "login", "cram-md5", "xoauth2"] = "auto"
    token: RenewedSecret | None = None
    provider: Provider = ""
    connections: int = Field(20, ge=1, le=1000)
    rate: Rate = 0.0
    connect_timeout: Duration = timedelta(seconds=30)
    idle: Duration = timedelta(seconds=25)
    age: Duration = timedelta(minutes=5)
    messages: int = Field(100, ge=1)
    outages: int = Field(5, ge=1)

    @field_validator("address")
    @classmethod
    def _has_a_port(cls, address: HostPort) -> HostPort:
        if not address.port:
            raise ValueError("needs a port, 587 or 465 or 25")
        return address

    @model_validator(mode="after")
    def _keeps_credentials_safe(self) -> Self:
        if self.username and self.tls == "off" and not self.address.is_loopback:
            raise ValueError('tls = "off" would send the password in clear; use "starttls" or "implicit"')
        if self.auth == "xoauth2" and self.token is None:
            raise ValueError('auth = "xoauth2" needs a token: { file = "PATH" }, which is read at each login')
        if self.token is not None and (not self.username or self.auth not in ("auto", "xoauth2")):
            raise ValueError('token is for XOAUTH2: it needs a username, and auth = "xoauth2"')
        if self.username and self.token is None and not self.password.get_secret_value():
            raise ValueError("username is set but password is not")
        return self

    @field_validator("connect_timeout")
    @classmethod
    def _is_some_time(cls, span: timedelta) -> timedelta:
        if span < timedelta(seconds=1):
            raise ValueError('must be "1s" or more')
        return span


class Delivery(Table):
    mode: Literal["inline", "queued"] = "inline"
    inline_timeout: Duration = timedelta(seconds=30)
    inline_recipients: int = Field(10, ge=1)
    retry: list[Duration] = Field(
        [timedelta(minutes=minutes) for minutes in (1, 5, 15, 30, 60, 120, 240)],
        min_length=1,
    )
    expire_after: Duration = timedelta(days=5)
    notices: bool = True
    notify_delay: Duration = timedelta(hours=4)

    @field_validator("expire_after", "inline_timeout")
    @classmethod
    def _are_some_time(cls, span: timedelta) -> timedelta:
        if span < timedelta(seconds=1):
            raise ValueError('must be "1s" or more')
        return span

    @field_validator("retry")
    @classmethod
    def _give_the_upstream_a_rest(cls, intervals: list[timedelta]) -> list[timedelta]:
        if any(interval < timedelta(seconds=1) for interval in intervals):
            raise ValueError('must not hold an interval under "1s"')
        return intervals


class Tracking(Table):
    public_url: PublicUrl = "http://127.0.0.1:8080"
    listen: Address = HostPort("127.0.0.1", 8080)
    aliases: list[Domain] = []
    opens: bool = True
    clicks: bool = True
    text_links: bool = False
    text_is_url: Literal["skip", "track"] = "skip"
    exclude: list[Domain] = []
    already_signed: Literal["skip", "strip"] = "skip"
    dialects: list[Dialect] = ["postmark", "mailgun", "mandrill", "sendgrid", "sparkpost", "postal", "cuttlefish"]
    trusted_proxies: list[Subnet] = []


class Unsubscribe(Table):
    header: Literal["add", "replace", "off"] = "add"
    streams: list[Stream] = ["*"]
    exempt: list[Stream] = ["transactional"]
    mailto: OptionalMailbox = ""

    def is_exempt(self, stream: str) -> bool:
        """True if unsubscribes do not hold back that stream."""
        return any(fnmatch(stream, pattern) for pattern in self.exempt)


class Bounces(Table):
    return_path: OptionalDomain = ""
    suppress_hard: bool = True
    suppressed: Literal["drop", "reject"] = "drop"


class Inbound(Table):
    ses: list[str] = []
    sendgrid: VerifyingKey = ""
    mailgun: Secret = _NO_SECRET
    postmark: Secret = _NO_SECRET
    sparkpost: Secret = _NO_SECRET

    @field_validator("ses")
    @classmethod
    def _are_topics(cls, topics: list[str]) -> list[str]:
        for topic in topics:
            if not re.fullmatch(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[\w.-]+", topic):
                raise ValueError(f'must be ARNs such as "arn:aws:sns:us-east-1:123456789012:bounces" (not {topic!r})')
        return topics


class DkimKey(Table):
    model_config = ConfigDict(arbitrary_types_allowed=True)  # the key itself: read once, and never printed

    domain: Domain
    selector: Domain
    private_key: SigningKey


class Dkim(Table):
    key: list[DkimKey] = []

    @field_validator("key")
    @classmethod
    def _are_told_apart(cls, keys: list[DkimKey]) -> list[DkimKey]:
        names = [f"{key.selector}._domainkey.{key.domain}" for key in keys]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{sorted(twice)[0]} is given twice; every key of a domain needs a selector of its own")
        return keys


class Privacy(Table):
    mode: Literal["full", "pseudonymous", "aggregate", "off"] = "full"
    consent: Literal["assumed", "asked"] = "assumed"
    ip: Literal["full", "truncated", "none"] = "truncated"
    keep_events: Duration = timedelta(days=400)
    keep_content: Duration = timedelta(days=7)

    @property
    def tells_apart(self) -> bool:
        """True if a link leads to its recipient."""
        return self.mode != "aggregate"

    @model_validator(mode="after")
    def _can_ask(self) -> Self:
        if self.consent == "asked" and not self.tells_apart:
            raise ValueError('consent = "asked" needs to tell recipients apart, which mode = "aggregate" does not')
        return self


class Console(Table):
    listen: Address = HostPort("127.0.0.1", 8081)


class Config(Table):
    """The whole file. Lists of tables are named as in TOML: `[[listen]]`, `[[upstream]]`."""

    relay: Relay = Relay()
    database: Database = Database()
    listen: list[Listen] = Field([Listen()], min_length=1)
    access: Access = Access()
    upstream: list[Upstream] = []
    delivery: Delivery = Delivery()
    tracking: Tracking = Tracking()
    unsubscribe: Unsubscribe = Unsubscribe()
    bounces: Bounces = Bounces()
    inbound: Inbound = Inbound()
    dkim: Dkim = Dkim()
    privacy: Privacy = Privacy()
    console: Console = Console()
    webhook: list[Webhook] = []

    @property
    def is_sandbox(self) -> bool:
        """True where no upstream is configured: mail is kept and shown, and goes nowhere."""
        return not self.upstream

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        listeners = [(f"[[listen]] #{n}", listen.address) for n, listen in enumerate(self.listen, 1)]
        listeners += [("[tracking] listen", self.tracking.listen), ("[console] listen", self.console.listen)]
        seen: dict[HostPort, str] = {}
        for name, address in listeners:
            if address.port and address in seen:
                raise ValueError(f"{name}: {address} is taken by {seen[address]}")
            seen[address] = name
        if self.bounces.return_path and self.privacy.mode == "aggregate":
            raise ValueError(
                '[bounces] return_path names each delivery in its reverse-path; [privacy] mode = "aggregate" does not'
            )
        names = [upstream.name for upstream in self.upstream]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"[[upstream]] name: {sorted(twice)[0]!r} is given twice")
        self._can_try_clients_credentials()
        self._can_sign_webhooks()
        return self

    def _can_sign_webhooks(self) -> None:
        seen: set[tuple[str, str]] = set()
        for one in self.webhook:
            if not one.secret.get_secret_value() and one.format in ("waypost", "mailgun"):
                raise ValueError(
                    f'[[webhook]] {one.url}: format = "{one.format}" is signed and needs a secret; '
                    "waypost webhooks secret   makes one"
                )
            if (one.url, one.format) in seen:
                raise ValueError(f"[[webhook]] {one.url} is given twice with the same format")
            seen.add((one.url, one.format))

    def _can_try_clients_credentials(self) -> None:
        if self.access.auth != "upstream":
            return
        if self.is_sandbox:
            raise ValueError('[access] auth = "upstream" needs an [[upstream]] that knows the passwords; there is none')
        for upstream in self.upstream:
            if upstream.tls == "off" and not upstream.address.is_loopback:
                raise ValueError(
                    f'[[upstream]] {upstream.name}: tls = "off" would send the clients\' passwords in clear '
                    '([access] auth = "upstream"); use "starttls" or "implicit"'
                )
