"""TLS certificates: of our listeners, and of what answers at the tracking site's address.

In: files and addresses.  Out: whether clients will trust them (RFC 5280), by which name, and until when.
"""

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from cryptography import x509

from relay.config.schema import Config
from relay.config.smtp import ListenConfig
from relay.edge import tls
from relay.node.diagnosis.finding import Finding, fail, note, ok

MIN_LEFT = timedelta(days=14)
_TIMEOUT_S = 10.0
_RENEW = "renew it; automatic renewal on this machine may have stopped"


def check_listeners(config: Config) -> Iterator[Finding]:
    for listen in config.listen:
        if listen.tls != "off":
            yield from _check_listener(listen, config.relay.hostname)


def _check_listener(listen: ListenConfig, hostname: str) -> Iterator[Finding]:
    what = f"certificate of {listen.address}"
    try:
        tls.create_context(listen)
        chain = x509.load_pem_x509_certificates(Path(str(listen.certificate)).read_bytes())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        yield fail(what, reason, "give PEM files in certificate and key, which belong together")
        return
    leaf = chain[0]
    yield describe_end(what, leaf.not_valid_after_utc)
    if len(chain) == 1 and leaf.issuer != leaf.subject:
        yield note(
            what, "comes without the certificates above it", "give the whole chain (fullchain.pem) in certificate"
        )
    names = _names(leaf)
    if names and not any(_matches(name, hostname) for name in names):
        yield note(
            what, f"is of {', '.join(names)}, not of [relay] hostname {hostname}", "clients must use a name of it"
        )


def describe_end(subject: str, end: datetime) -> Finding:
    """Whether a certificate that ends then is to be renewed."""
    left, day = end - datetime.now(UTC), f"{end:%Y-%m-%d}"
    if left < timedelta(0):
        return fail(subject, f"ended on {day}", _RENEW)
    if left < MIN_LEFT:
        return note(subject, f"ends on {day}, in {left.days} days", _RENEW)
    return ok(subject, f"until {day}")


def peer_end(certificate: Any) -> datetime | None:  # Any: as ssl's getpeercert gives it
    """When the other side's certificate ends; None if it has none."""
    text = (certificate or {}).get("notAfter")
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC) if text else None


def check_tracking_site(config: Config) -> Iterator[Finding]:
    """Does the address in our links answer, and with a certificate that mail programs trust?"""
    url = config.tracking.public_url
    parts = urlsplit(url)
    host, what = parts.hostname or "", f"[tracking] public_url {url}"
    context = ssl.create_default_context()  # the system's authorities, as others have them
    try:
        if parts.scheme == "https":
            with (
                socket.create_connection((host, parts.port or 443), _TIMEOUT_S) as plain,
                context.wrap_socket(plain, server_hostname=host) as encrypted,
            ):
                end = peer_end(encrypted.getpeercert())
            if end:
                yield describe_end(f"certificate of {host}", end)
        answer = httpx.get(f"{url}/healthz", timeout=_TIMEOUT_S, trust_env=False, verify=context)
    except ssl.SSLCertVerificationError as error:
        remedy = (
            "recipients see a warning instead of the page: give it a certificate of that name, with its whole chain"
        )
        yield fail(what, f"its certificate is not trusted ({error.verify_message})", remedy)
    except (OSError, httpx.HTTPError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        yield note(what, f"does not answer ({reason})", "see that the server runs, and the proxy in front of it")
    else:
        if answer.status_code == httpx.codes.OK:
            yield ok(what, "answers")
        else:
            remedy = f"see that the proxy in front passes requests on to [tracking] listen {config.tracking.listen}"
            yield fail(what, f"answers {answer.status_code} to /healthz, as Waypost does not", remedy)


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [name.lower() for name in found.value.get_values_for_type(x509.DNSName)]


def _matches(pattern: str, name: str) -> bool:
    """RFC 6125 §6.4.3: a star stands for one label, the first."""
    name = name.rstrip(".").lower()
    return pattern == name or (pattern.startswith("*.") and name.partition(".")[2] == pattern[2:])
