"""An upstream: does it answer, take our login, and what does it offer? No mail is sent."""

import asyncio
import os
import re
import smtplib
import ssl
from collections.abc import Iterator

from relay.config.schema import Config
from relay.config.smtp import UpstreamConfig
from relay.delivery.smtp.upstream import Upstream
from relay.node.diagnosis import certificates
from relay.node.diagnosis.finding import Finding, fail, note, ok

_TIMEOUT_S = 30.0
_REPORTED_FEATURES = ("size", "pipelining", "8bitmime", "smtputf8", "dsn", "chunking", "enhancedstatuscodes")
_ADVICE = (
    (("offers no STARTTLS",), 'use the port with TLS from the start (tls = "implicit", mostly 465), or another server'),
    (
        ("certificate verify failed", "certificate_verify", "hostname mismatch"),
        "use the name that its certificate has, or give the authority's certificate in ca_file",
    ),
    (
        ("wrong version number", "wrong_version", "record layer"),
        'tls does not fit the port: "implicit" is for 465, "starttls" for 587 and 25',
    ),
    (("auth: ",), "look at username, password and auth; some providers want a password made for programs"),
    (
        ("name or service not known", "nodename", "name resolution", "no address associated"),
        "look at address, and at this machine's DNS",
    ),
    (("refused", "connect call failed"), "look at address and port, and whether the server runs"),
    (("timed out", "no connection", "unreachable"), "look for a firewall; many networks block port 25, but not 587"),
)  # what a fault has in it, and what to do


def check_upstreams(config: Config) -> Iterator[Finding]:
    for settings in config.upstream:
        what = f"upstream {settings.name} at {settings.address}"
        fault = asyncio.run(_probe(settings, config.relay.hostname))
        if fault:
            yield fail(what, f"{_shorten(fault)}; its mail waits meanwhile", _find_advice(fault))
        else:
            yield ok(what)
            yield from _check_features(settings, config, what)


async def _probe(settings: UpstreamConfig, hostname: str) -> str:
    upstream = Upstream(settings, hostname)
    try:
        return await upstream.probe()
    finally:
        await upstream.close()


def _shorten(fault: str) -> str:
    """Without the code 0 of no reply, and what stands around the system's own words."""
    found = re.search(r"\[Errno (\d+)\]", fault)
    if found and int(found[1]) > 0:
        return f"{fault.partition(':')[0]}: {os.strerror(int(found[1])).lower()}"
    return fault.replace(": 0 ", ": ", 1)


def _find_advice(fault: str) -> str:
    text = fault.lower()
    return next((advice for words, advice in _ADVICE if any(one.lower() in text for one in words)), "ask who runs it")


def _check_features(settings: UpstreamConfig, config: Config, subject: str) -> Iterator[Finding]:
    try:
        features, certificate = _ask_features(settings)
    except (OSError, smtplib.SMTPException) as error:
        yield note(subject, f"did not answer a second time ({error})")
        return
    if end := certificates.peer_end(certificate):
        yield certificates.describe_end(f"certificate of {settings.address.host}", end)
    shown = [f"{name.upper()} {features[name]}".strip() for name in _REPORTED_FEATURES if name in features]
    yield ok(subject, f"offers {', '.join(shown) or 'no extension'}")
    size = features.get("size", "").strip()
    if size.isdecimal() and 0 < int(size) < config.access.max_size:
        remedy = f"set [access] max_size to {int(size)} or less, so that apps get the refusal at once"
        yield note(subject, f"takes {int(size)} octets a mail, and we take {config.access.max_size}", remedy)
    if "pipelining" not in features:
        yield note(subject, "offers no PIPELINING: each recipient costs a round trip", "ask for it, if there are many")
    if "8bitmime" not in features:
        yield note(subject, "offers no 8BITMIME: such mail is converted, and signed by us or not at all")


def _ask_features(settings: UpstreamConfig) -> tuple[dict[str, str], object]:
    """What EHLO names, in lower case, with its parameters; and the certificate, as ssl has it."""
    host, port = settings.address
    context = ssl.create_default_context(cafile=settings.ca_file) if settings.tls != "off" else None
    if settings.tls == "implicit":
        client: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=_TIMEOUT_S, context=context)
    else:
        client = smtplib.SMTP(host, port, timeout=_TIMEOUT_S)
    with client:
        client.ehlo()
        if settings.tls == "starttls":
            client.starttls(context=context)
            client.ehlo()
        sock = client.sock
        certificate = sock.getpeercert() if isinstance(sock, ssl.SSLSocket) else None
        return {name.lower(): str(value) for name, value in client.esmtp_features.items()}, certificate
