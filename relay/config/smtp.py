"""The tables of mail in and out: `[[listen]]`, `[access]`, `[[upstream]]`, `[delivery]`."""

from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from relay.config.base import NO_SECRET, ConfigTable
from relay.config.values import (
    Address,
    Duration,
    Flag,
    HostPort,
    Rate,
    RereadSecret,
    Secret,
    Senders,
    Size,
    Stream,
    Subnet,
    read_network,
)
from relay.ip_addresses import IpNetwork

DialectName = Literal["postmark", "mailgun", "mandrill", "sendgrid", "sparkpost", "postal", "cuttlefish"]
Provider = Literal["", "none", DialectName]
Tls = Literal["off", "starttls", "implicit"]


class ListenConfig(ConfigTable):
    address: Address = HostPort("127.0.0.1", 2525)
    tls: Tls = "off"
    certificate: Path | None = None
    key: Path | None = None
    proxy_protocol: Flag = False
    proxy_networks: list[Subnet] = [read_network("127.0.0.0/8"), read_network("::1/128")]

    @model_validator(mode="after")
    def _check_certificate(self) -> Self:
        if self.tls != "off" and not (self.certificate and self.key):
            raise ValueError(f'tls = "{self.tls}" needs certificate and key (paths of PEM files)')
        return self


class UserConfig(ConfigTable):
    name: str = Field(min_length=1)
    password_hash: str
    senders: list[Senders] = ["*"]
    stream: Stream = ""
    streams: list[Stream] | None = None  # beside `stream`; None: as `AccessConfig.may_name` has it
    override: Flag = False

    @field_validator("password_hash")
    @classmethod
    def _check_password_hash(cls, text: str) -> str:
        import argon2  # few configurations have users

        try:
            argon2.extract_parameters(text)
        except argon2.exceptions.InvalidHashError:
            raise ValueError("must be an argon2 hash; `waypost user add NAME --smtp` prints one") from None
        return text


class AccessConfig(ConfigTable):
    networks: list[Subnet] = [read_network("127.0.0.0/8"), read_network("::1/128")]
    auth: Literal["none", "users", "upstream"] = "users"
    max_size: Size = Field(25 << 20, ge=1024)
    max_recipients: int = Field(1000, ge=1)
    max_connections: int = Field(4000, ge=4)
    max_connections_per_ip: int = Field(100, ge=1)
    streams: list[Stream] = ["*"]
    override: Flag = False
    max_in_flight: Size = 256 << 20
    max_report_size: Size = Field(16 << 20, ge=1024)
    max_reports_in_flight: Size = 32 << 20
    idle_timeout: Duration = timedelta(minutes=5)  # RFC 5321 §4.5.3.2.7
    user: list[UserConfig] = []

    @field_validator("idle_timeout")
    @classmethod
    def _check_idle_timeout(cls, span: timedelta) -> timedelta:
        if span < timedelta(seconds=1):
            raise ValueError('must be "1s" or more; RFC 5321 asks for "5m"')
        return span

    @model_validator(mode="after")
    def _check_memory_limits(self) -> Self:
        if self.max_in_flight < self.max_size:
            raise ValueError("max_in_flight must not be less than max_size: no message of that size could come in")
        if self.max_reports_in_flight < self.max_report_size:
            raise ValueError(
                "max_reports_in_flight must not be less than max_report_size: no such report could come in"
            )
        return self

    def may_name(self, user: str, stream: str, *, is_exempt: bool) -> bool:
        """True if mail of that account may name that stream.

        An account without `streams` may name its own stream; one that has none may name any, but for those that no
        unsubscribe holds back. `[access] streams` is for networks without AUTH, and for logins that only the upstream
        knows.
        """
        account = next((one for one in self.user if one.name == user), None) if user else None
        if account is None:
            return any(fnmatchcase(stream, pattern) for pattern in self.streams)
        if stream == account.stream:
            return True
        if account.streams is None:
            return not account.stream and not is_exempt
        return any(fnmatchcase(stream, pattern) for pattern in account.streams)

    def may_override(self, user: str) -> bool:
        """True if mail of that account ("" is a network without AUTH) may go to suppressed addresses."""
        return next((one.override for one in self.user if one.name == user), False) if user else self.override

    @field_validator("user")
    @classmethod
    def _check_unique(cls, users: list[UserConfig]) -> list[UserConfig]:
        names = [user.name for user in users]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"name {sorted(twice)[0]!r} is given twice")
        return users

    @field_validator("networks")
    @classmethod
    def _forbid_open_relay(cls, networks: list[IpNetwork]) -> list[IpNetwork]:
        for network in networks:
            # No organisation has more than a /8 in IPv4, or more than a /16 in IPv6.
            if network.prefixlen < (8 if network.version == 4 else 16):
                raise ValueError(
                    f"{network} would make this an open relay; name your own networks and give others a [[access.user]]"
                )
        return networks


class UpstreamConfig(ConfigTable):
    name: str = Field("primary", min_length=1)
    address: Address
    tls: Tls = "starttls"
    ca_file: Path | None = None
    username: str = ""
    password: Secret = NO_SECRET
    senders: list[Senders] = ["*"]
    auth: Literal["auto", "plain", "login", "cram-md5", "xoauth2"] = "auto"
    token: RereadSecret | None = None
    provider: Provider = ""
    connections: int = Field(20, ge=1, le=1000)
    rate: Rate = 0.0
    connect_timeout: Duration = timedelta(seconds=30)
    greeting_timeout: Duration = timedelta(minutes=5)  # RFC 5321 §4.5.3.2.1
    stall_timeout: Duration = timedelta(seconds=30)
    idle: Duration = timedelta(seconds=25)
    age: Duration = timedelta(minutes=5)
    messages: int = Field(100, ge=1)
    outages: int = Field(5, ge=1)

    @field_validator("address")
    @classmethod
    def _check_port(cls, address: HostPort) -> HostPort:
        if not address.port:
            raise ValueError("needs a port, 587 or 465 or 25")
        return address

    @model_validator(mode="after")
    def _forbid_clear_credentials(self) -> Self:
        if self.username and self.tls == "off" and not self.address.is_loopback:
            raise ValueError('tls = "off" would send the password in clear; use "starttls" or "implicit"')
        if self.auth == "xoauth2" and self.token is None:
            raise ValueError('auth = "xoauth2" needs a token: { file = "PATH" }, which is read at each login')
        if self.token is not None and (not self.username or self.auth not in ("auto", "xoauth2")):
            raise ValueError('token is for XOAUTH2: it needs a username, and auth = "xoauth2"')
        if self.username and self.token is None and not self.password.get_secret_value():
            raise ValueError("username is set but password is not")
        return self

    @field_validator("connect_timeout", "greeting_timeout", "stall_timeout")
    @classmethod
    def _check_positive(cls, span: timedelta) -> timedelta:
        if span < timedelta(seconds=1):
            raise ValueError('must be "1s" or more')
        return span


class DeliveryConfig(ConfigTable):
    mode: Literal["inline", "queued"] = "inline"
    inline_timeout: Duration = timedelta(seconds=30)
    inline_recipients: int = Field(10, ge=1)
    retry: list[Duration] = Field(
        [timedelta(minutes=minutes) for minutes in (1, 5, 15, 30, 60, 120, 240)],
        min_length=1,
    )
    expire_after: Duration = timedelta(days=5)
    notices: Flag = True
    notify_delay: Duration = timedelta(hours=4)

    @field_validator("expire_after", "inline_timeout")
    @classmethod
    def _check_positive(cls, span: timedelta) -> timedelta:
        if span < timedelta(seconds=1):
            raise ValueError('must be "1s" or more')
        return span

    @field_validator("retry")
    @classmethod
    def _check_retry_intervals(cls, intervals: list[timedelta]) -> list[timedelta]:
        if any(interval < timedelta(seconds=1) for interval in intervals):
            raise ValueError('must not hold an interval under "1s"')
        return intervals
