"""The tables of `config.toml`: every key with its type, its default and its validation."""

import logging
import re
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import ConfigDict, Field, PrivateAttr, SecretStr, field_validator, model_validator

from relay.config.base import NO_SECRET, ConfigTable
from relay.config.sign_in import OidcConfig, ProxyAuthConfig
from relay.config.smtp import AccessConfig, DeliveryConfig, DialectName, ListenConfig, UpstreamConfig
from relay.config.unsubscribe import UnsubscribeConfig
from relay.config.values import (
    Address,
    Domain,
    Duration,
    Flag,
    HostPort,
    OptionalAddress,
    OptionalDomain,
    PublicUrl,
    Secret,
    SigningKey,
    Size,
    Subnet,
    VerifyingKey,
    without_userinfo,
)
from relay.config.webhook import WebhookConfig
from relay.ip_addresses import THIS_MACHINE, IpNetwork
from relay.webhook_format import SIGNED_WITH_SECRET

MIN_PASSWORD = 8  # characters, of an account of the console


class RelayConfig(ConfigTable):
    hostname: str = Field("localhost", min_length=1, pattern=r"^[A-Za-z0-9.\-_:\[\]]+$")
    data_dir: Path = Path("var")
    workers: int = Field(1, ge=1, le=64)
    drain: Duration = timedelta(seconds=20)
    watchdog: Duration = timedelta(seconds=30)
    user: str = ""
    group: str = ""

    @field_validator("watchdog")
    @classmethod
    def _check_watchdog(cls, span: timedelta) -> timedelta:
        if timedelta(0) < span < timedelta(seconds=3):
            raise ValueError(
                'must be "3s" or more, or "0s" for none: shorter, it would end healthy processes on a busy machine'
            )
        return span

    @model_validator(mode="after")
    def _check_group(self) -> Self:
        if self.group and not self.user:
            raise ValueError("group is set but user is not")
        return self


class DatabaseConfig(ConfigTable):
    url: Secret = NO_SECRET

    @field_validator("url")
    @classmethod
    def _check_driver(cls, url: SecretStr) -> SecretStr:
        if not re.match(r"$|sqlite:///|postgresql\+psycopg://", url.get_secret_value()):
            raise ValueError('must be "" or "postgresql+psycopg://user:password@host/database"')
        server = url.get_secret_value().partition("://")[2].partition("?")[0].rpartition("@")[2].partition("/")[0]
        for place in server.split(","):  # several hosts, each with its port
            port = place.rpartition("]")[2].partition(":")[2]
            if not re.fullmatch(r"\d{0,5}", port):
                raise ValueError("has a port that is no number")
        return url


class TrackingConfig(ConfigTable):
    public_url: PublicUrl = "http://127.0.0.1:8080"
    listen: Address = HostPort("127.0.0.1", 8080)
    aliases: list[Domain] = []
    opens: Flag = True
    clicks: Flag = True
    text_links: Flag = False
    text_is_url: Literal["skip", "track"] = "skip"
    exclude: list[Domain] = []
    already_signed: Literal["skip", "strip"] = "skip"
    dialects: list[DialectName] = list(get_args(DialectName))
    trusted_proxies: list[Subnet] = []


class BouncesConfig(ConfigTable):
    return_path: OptionalDomain = ""
    suppress_hard: Flag = True
    suppressed: Literal["drop", "reject"] = "drop"


class InboundConfig(ConfigTable):
    ses: list[str] = []
    sendgrid: VerifyingKey = ""
    mailgun: Secret = NO_SECRET
    postmark: Secret = NO_SECRET
    sparkpost: Secret = NO_SECRET

    @field_validator("ses")
    @classmethod
    def _check_topics(cls, topics: list[str]) -> list[str]:
        for topic in topics:
            if not re.fullmatch(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[\w.-]+", topic):
                raise ValueError(f'must be ARNs such as "arn:aws:sns:us-east-1:123456789012:bounces" (not {topic!r})')
        return topics


class DkimKey(ConfigTable):
    model_config = ConfigDict(arbitrary_types_allowed=True)  # the key itself: it is never printed

    domain: Domain
    selector: Domain
    private_key: SigningKey


class DkimConfig(ConfigTable):
    key: list[DkimKey] = []

    @field_validator("key")
    @classmethod
    def _check_unique(cls, keys: list[DkimKey]) -> list[DkimKey]:
        names = [f"{key.selector}._domainkey.{key.domain}" for key in keys]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{sorted(twice)[0]} is given twice; every key of a domain needs a selector of its own")
        return keys


class PrivacyConfig(ConfigTable):
    mode: Literal["full", "pseudonymous", "aggregate", "off"] = "full"
    consent: Literal["assumed", "asked"] = "assumed"
    ip: Literal["full", "truncated", "none"] = "truncated"
    keep_events: Duration = timedelta(days=400)
    keep_content: Duration = timedelta(days=7)
    keep_audit: Duration = timedelta(days=400)

    @property
    def has_recipient_tokens(self) -> bool:
        """True if a link leads to its recipient."""
        return self.mode != "aggregate"

    @model_validator(mode="after")
    def _check_consent_mode(self) -> Self:
        if self.consent == "asked" and not self.has_recipient_tokens:
            raise ValueError('consent = "asked" needs to tell recipients apart, which mode = "aggregate" does not')
        return self


class ConsoleConfig(ConfigTable):
    listen: Address = HostPort("127.0.0.1", 8081)
    hosts: list[Domain] = []
    admin_password: Secret = NO_SECRET
    oidc: OidcConfig = OidcConfig.model_construct()
    proxy_auth: ProxyAuthConfig = ProxyAuthConfig.model_construct()

    @field_validator("admin_password")
    @classmethod
    def _check_length(cls, password: SecretStr) -> SecretStr:
        if 0 < len(password.get_secret_value()) < MIN_PASSWORD:
            raise ValueError(f"must have {MIN_PASSWORD} characters or more")
        return password


class TelemetryConfig(ConfigTable):
    endpoint: PublicUrl | Literal[""] = ""
    sample: float = Field(1.0, ge=0, le=1)


class MetricsConfig(ConfigTable):
    listen: OptionalAddress = None


class LogConfig(ConfigTable):
    format: Literal["text", "json"] = "text"
    level: Literal["info", "warning", "error"] = "info"

    @property
    def level_number(self) -> int:
        """The level's number in the module `logging`."""
        return logging.getLevelNamesMapping()[self.level.upper()]


class AlertsConfig(ConfigTable):
    urls: list[Secret] = []
    every: Duration = timedelta(seconds=30)
    repeat: Duration = timedelta(hours=6)
    queue_age: Duration = timedelta(hours=1)
    min_disk_free: Size = 1 << 30

    @field_validator("every")
    @classmethod
    def _check_every(cls, every: timedelta) -> timedelta:
        if every < timedelta(seconds=1):
            raise ValueError('must be "1s" or more')
        return every


class WebhooksConfig(ConfigTable):
    allow_networks: list[Subnet] = []


class Config(ConfigTable):
    """The whole file. Lists of tables are named as in TOML: `[[listen]]`, `[[upstream]]`."""

    relay: RelayConfig = RelayConfig.model_construct()
    database: DatabaseConfig = DatabaseConfig.model_construct()
    listen: list[ListenConfig] = Field([ListenConfig()], min_length=1)
    access: AccessConfig = AccessConfig.model_construct()
    upstream: list[UpstreamConfig] = []
    delivery: DeliveryConfig = DeliveryConfig.model_construct()
    tracking: TrackingConfig = TrackingConfig.model_construct()
    unsubscribe: UnsubscribeConfig = UnsubscribeConfig.model_construct()
    bounces: BouncesConfig = BouncesConfig.model_construct()
    inbound: InboundConfig = InboundConfig.model_construct()
    dkim: DkimConfig = DkimConfig.model_construct()
    privacy: PrivacyConfig = PrivacyConfig.model_construct()
    console: ConsoleConfig = ConsoleConfig.model_construct()
    log: LogConfig = LogConfig.model_construct()
    alerts: AlertsConfig = AlertsConfig.model_construct()
    metrics: MetricsConfig = MetricsConfig.model_construct()
    telemetry: TelemetryConfig = TelemetryConfig.model_construct()
    webhooks: WebhooksConfig = WebhooksConfig.model_construct()
    webhook: list[WebhookConfig] = []
    _file: Path | None = PrivateAttr(None)

    def model_post_init(self, context: Any, /) -> None:  # Any: pydantic's
        self._file = (context or {}).get("file")

    @property
    def file(self) -> Path | None:
        """The file that it was read from, absolute; None where there was none."""
        return self._file

    @property
    def is_sandbox(self) -> bool:
        """True if no upstream is configured: mail is kept and shown, and not sent."""
        return not self.upstream

    @property
    def webhook_networks(self) -> list[IpNetwork]:
        """The networks besides the public Internet that webhooks of the console and the API may reach. In a sandbox
        whose console is on loopback, this machine is one: the handler that somebody writes runs beside it."""
        is_bench = self.is_sandbox and self.console.listen.is_loopback
        return [*self.webhooks.allow_networks, *(THIS_MACHINE if is_bench else ())]

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        listeners = [(f"[[listen]] #{n}", listen.address) for n, listen in enumerate(self.listen, 1)]
        listeners += [("[tracking] listen", self.tracking.listen), ("[console] listen", self.console.listen)]
        listeners += [("[metrics] listen", self.metrics.listen)] if self.metrics.listen else []
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
        self._check_upstream_auth()
        self._check_webhook_secrets()
        return self

    def _check_webhook_secrets(self) -> None:
        seen: set[tuple[str, str]] = set()
        for one in self.webhook:
            if not one.secret.get_secret_value() and one.format in SIGNED_WITH_SECRET:
                raise ValueError(
                    f'[[webhook]] {without_userinfo(one.url)}: format = "{one.format}" is signed and needs a secret; '
                    "waypost webhooks secret   makes one"
                )
            if (one.url, one.format) in seen:
                raise ValueError(f"[[webhook]] {without_userinfo(one.url)} is given twice with the same format")
            seen.add((one.url, one.format))

    def _check_upstream_auth(self) -> None:
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
