"""`waypost check`: is the configuration right, and does what it names answer?"""

import argparse
import asyncio

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from pydantic import SecretStr

from relay.cli import output
from relay.config import load
from relay.config.schema import Config
from relay.delivery import message_rows
from relay.delivery.smtp import helo_name
from relay.delivery.smtp.upstream import Upstream
from relay.edge import tls
from relay.node import data_directory, privileges
from relay.rewrite import dkim, provider_dialects

_RSA_BITS = 2048


def check_configuration(arguments: argparse.Namespace) -> int:
    path = load.find_file(arguments.config)
    config = load.load(path)
    output.print_line(f"ok    {path or 'no config.toml here; the defaults'}")
    output.print_line(f"note  {_describe_mode(config)}")
    if secrets := load.find_readable_secrets(path):
        output.print_line(f"note  {path} is readable by all users and holds {', '.join(secrets)}: chmod o-r {path}")
    for variable in load.find_ignored_variables():
        output.print_line(f"note  {variable} changes nothing: two underscores stand between table and key")
    for note in _find_notes(config):
        output.print_line(f"note  {note}")
    for line in _dns_records(config):
        output.print_line(f"dns   {line}")
    if not arguments.online:
        return 0
    findings = [_check_data_directory(config), *_check_certificates(config), *asyncio.run(_check_upstreams(config))]
    for name, fault in findings:
        output.print_line(f"FAIL  {name}: {fault}" if fault else f"ok    {name}")
    return 1 if any(fault for _, fault in findings) else 0


def _describe_mode(config: Config) -> str:
    if config.is_sandbox:
        return "sandbox: no [[upstream]], so mail is kept in the console's mailbox and goes nowhere"
    return f"{config.delivery.mode} delivery through {', '.join(one.name for one in config.upstream)}"


def _find_notes(config: Config) -> list[str]:
    notes = []
    if privileges.is_bare_root(config):
        notes.append("this is root, and so would be the server: name a user in [relay] user, or start it as one")
    if fault := privileges.find_fault(config):
        notes.append(fault)
    url = config.tracking.public_url
    if not config.is_sandbox and ("//127." in url or "//localhost" in url):
        notes.append(f"[tracking] public_url is {url}: links in mail lead to this machine only")
    if url.startswith("http://") and config.unsubscribe.header != "off" and not config.is_sandbox:
        notes.append("[tracking] public_url is not https: one-click unsubscribe (RFC 8058) needs it")
    hostname = config.relay.hostname
    if not config.is_sandbox and not helo_name.is_qualified(hostname):
        told = helo_name.machine_name() or "this machine's address in brackets"
        notes.append(f'[relay] hostname is "{hostname}", which servers refuse; upstreams are told {told} instead')
    for upstream in config.upstream:
        if (name := message_rows.provider(upstream)) and (caveat := provider_dialects.DIALECTS[name].caveat):
            notes.append(f"[[upstream]] {upstream.name}: {caveat}")
    for name, given in config.inbound:
        if given and not (isinstance(given, SecretStr) and not given.get_secret_value()):
            notes.append(f"[inbound] {name}: let its webhook POST to {url}/in/{name}")
    for key in config.dkim.key:
        # RFC 8301 §3.2: at least 1024 bits, and 2048 is what signers should have.
        private = key.private_key
        if isinstance(private, RSAPrivateKey) and private.key_size < _RSA_BITS:
            notes.append(f"[[dkim.key]] {key.selector} of {key.domain}: {private.key_size} bits; use {_RSA_BITS}")
    return notes


def _dns_records(config: Config) -> list[str]:
    lines = []
    for key in config.dkim.key:
        name, text = dkim.dns_record(key)
        lines.append(" ".join([f"{name}. IN TXT", *(f'"{string}"' for string in dkim.split_txt(text))]))
    if domain := config.bounces.return_path:
        lines.append(f"{domain}. IN MX 10 {config.relay.hostname}.")
    return lines


def _check_data_directory(config: Config) -> tuple[str, str]:
    try:
        data_directory.prepare_data(config)
    except data_directory.StartupError as error:
        return "data and database", str(error)
    return f"data and database in {config.relay.data_dir}", ""


def _check_certificates(config: Config) -> list[tuple[str, str]]:
    findings = []
    for listen in config.listen:
        if listen.tls != "off":
            try:
                tls.create_context(listen)
                fault = ""
            except OSError as error:
                fault = f"{error.strerror or error}; give PEM files in certificate and key"
            findings.append((f"certificate of {listen.address}", fault))
    return findings


async def _check_upstreams(config: Config) -> list[tuple[str, str]]:
    findings = []
    for settings in config.upstream:
        upstream = Upstream(settings, config.relay.hostname)
        fault = await upstream.probe()
        await upstream.close()
        findings.append((f"upstream {settings.name} at {settings.address}", fault))
    return findings
