"""`waypost check` and `waypost doctor`: whether the configuration is right, and whether what it names answers."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from pydantic import SecretStr

from relay.cli import command, output
from relay.config import load, variables
from relay.config.schema import Config
from relay.delivery.smtp import helo_name
from relay.node import privileges
from relay.rewrite import dkim, provider_dialects

if TYPE_CHECKING:
    from relay.node.diagnosis.finding import Finding

_RSA_BITS = 2048
_FAILED = "FAIL"


def check_configuration(arguments: argparse.Namespace) -> int:
    path = load.find_file(arguments.config)
    config = load.load(path)
    _print(arguments, "ok", str(path or "no config.toml here; the defaults"))
    for text in (_describe_mode(config), *_find_file_notes(path), *_find_notes(config)):
        _print(arguments, "note", text)
    for line in _dns_records(config):
        _print(arguments, "dns", line)
    has_failed = False
    for finding in _find_online(arguments, config) if arguments.online else ():
        _print(arguments, *finding)
        sys.stdout.flush()  # a finding can take seconds
        has_failed |= finding.level == _FAILED
    return 1 if has_failed else 0


def _find_online(arguments: argparse.Namespace, config: Config) -> "Iterator[Finding]":
    """Findings about what the configuration names, one after the other."""
    from relay.node.diagnosis import (  # takes a second
        certificates,
        dns_lookup,
        dns_records,
        machine,
        openid_provider,
        upstream_features,
    )
    from relay.node.diagnosis.finding import fail

    with command.watch_database(config):
        yield from machine.check_data(config)
    yield from machine.check_machine(config)
    yield from certificates.check_listeners(config)
    yield from upstream_features.check_upstreams(config)
    yield from certificates.check_tracking_site(config)
    yield from openid_provider.check_provider(config)
    try:
        yield from dns_records.check_dns(config, dns_lookup.Dns(arguments.resolver), arguments.domain)
    except dns_lookup.DnsUnavailableError as error:
        yield fail("DNS", str(error), "look at /etc/resolv.conf, or name a resolver with --resolver")


def _print(arguments: argparse.Namespace, level: str, heading: str, detail: str = "", remedy: str = "") -> None:
    if arguments.json:
        output.print_json({"level": str(level).lower(), "what": heading, "detail": detail, "remedy": remedy})
        return
    output.print_line(f"{level:<5} {heading}{': ' if detail else ''}{detail}")
    if remedy:
        output.print_line(f"      -> {remedy}")


def _describe_mode(config: Config) -> str:
    if config.is_sandbox:
        return "sandbox: no [[upstream]], so mail is kept in the console's mailbox and goes nowhere"
    return f"{config.delivery.mode} delivery through {', '.join(one.name for one in config.upstream)}"


def _find_file_notes(path: Path | None) -> Iterator[str]:
    if secrets := load.find_readable_secrets(path):
        yield f"{path} is readable by all users and holds {', '.join(secrets)}: chmod o-r {path}"
    for variable in variables.find_ignored_variables():
        yield f"{variable} changes nothing: two underscores stand between table and key"


def _find_notes(config: Config) -> Iterator[str]:
    if privileges.is_bare_root(config):
        yield "this is root, and the server would run as root: name a user in [relay] user, or start it as another user"
    if fault := privileges.find_fault(config):
        yield fault
    url = config.tracking.public_url
    if not config.is_sandbox and ("//127." in url or "//localhost" in url):
        yield f"[tracking] public_url is {url}: links in mail lead to this machine only"
    if url.startswith("http://") and config.unsubscribe.header != "off" and not config.is_sandbox:
        yield "[tracking] public_url is not https: one-click unsubscribe (RFC 8058) needs it"
    hostname = config.relay.hostname
    if not config.is_sandbox and not helo_name.is_qualified(hostname):
        name = helo_name.machine_name() or "this machine's address in brackets"
        yield f'[relay] hostname is "{hostname}", which servers refuse; upstreams get {name} instead'
    if config.bounces.return_path and not helo_name.is_qualified(hostname):
        yield f'[bounces] return_path needs an MX that names this machine, and [relay] hostname is "{hostname}"'
    for upstream in config.upstream:
        name = provider_dialects.find_provider(upstream.provider, upstream.address.host)
        if (dialect := provider_dialects.DIALECTS.get(name)) and dialect.caveat:
            yield f"[[upstream]] {upstream.name}: {dialect.caveat}"
    for name, given in config.inbound:
        if given and not (isinstance(given, SecretStr) and not given.get_secret_value()):
            yield f"[inbound] {name}: let its webhook POST to {url}/in/{name}"
    for key in config.dkim.key:
        # RFC 8301 §3.2: at least 1024 bits, and 2048 is what signers should have.
        private = key.private_key
        if isinstance(private, RSAPrivateKey) and private.key_size < _RSA_BITS:
            yield f"[[dkim.key]] {key.selector} of {key.domain}: {private.key_size} bits; use {_RSA_BITS}"


def _dns_records(config: Config) -> Iterator[str]:
    for key in config.dkim.key:
        name, text = dkim.dns_record(key)
        yield " ".join([f"{name}. IN TXT", *(f'"{string}"' for string in dkim.split_txt(text))])
    if (domain := config.bounces.return_path) and helo_name.is_qualified(config.relay.hostname):
        yield f"{domain}. IN MX 10 {config.relay.hostname}."
