"""The types of values in a configuration: how each is written, and what makes it invalid.

Every reader here takes what TOML or the environment gave and raises ValueError with a sentence that
says what to write instead.
"""

import base64
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from pydantic import BeforeValidator, SecretStr, ValidationInfo

from relay import address, domain_names, ip_addresses
from relay.ip_addresses import IpNetwork

_DURATION = re.compile(r"(?<!\d)(\d++(?:\.\d++)?)\s*+(ms|s|m|h|d|w)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_MAX_S = 100 * 365 * 86400.0  # a date so far away can still be computed
_SIZE = re.compile(r"(\d+)\s*([KMG]i?)?B?", re.IGNORECASE)
_UNIT_OCTETS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_URL_HOST = re.compile(r"[a-z0-9_.:-]+", re.IGNORECASE)  # a name, or an address without its brackets
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_MIN_RSA_BITS = 1024  # RFC 8301 §3.2
_NOT_PRIVATE = {"PUBLIC KEY-----": "public key", "CERTIFICATE-----": "certificate"}

PrivateKey = RSAPrivateKey | Ed25519PrivateKey


class HostPort(NamedTuple):
    """Where to listen or connect: a host name or IP address, and a TCP port (0: any free one)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        return ip_addresses.is_loopback_host(self.host)


def read_duration(value: object) -> timedelta:
    """`30s`, `5m`, `1h30m`, `400d`; `0` is none."""
    if isinstance(value, timedelta):
        return value
    text = str(value).strip().lower()
    if text == "0":
        return timedelta(0)
    if not re.fullmatch(rf"(?:{_DURATION.pattern}\s*)+", text):
        raise ValueError('must be a duration such as "30s", "5m", "1h" or "400d"')
    seconds = sum(float(number) * _UNIT_S[unit] for number, unit in _DURATION.findall(text))
    if seconds > _MAX_S:
        raise ValueError("must not be longer than 100 years")
    return timedelta(seconds=seconds)


def read_size(value: object) -> int:
    """Octets: `25MB`, `512KB`, `1GB` (1 KB is 1024 octets) or a bare number."""
    found = _SIZE.fullmatch(str(value).strip())
    if not found or isinstance(value, bool):
        raise ValueError('must be a size such as "25MB" or "512KB"')
    return int(found[1]) * _UNIT_OCTETS[(found[2] or "").upper().rstrip("I")]


def read_host_port(value: object) -> HostPort:
    """`127.0.0.1:2525`, `smtp.example.com:587`, `[::1]:25`."""
    if isinstance(value, HostPort):
        return value
    host, colon, port = str(value).strip().rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not bare or not port.isdecimal() or int(port) > 65535 or (":" in bare and host == bare):
        raise ValueError('must be HOST:PORT such as "127.0.0.1:2525" or "[::1]:25"')
    return HostPort(bare, int(port))


def read_optional_host_port(value: object) -> HostPort | None:
    """The same, or nothing."""
    return None if value in ("", None) else read_host_port(value)


def read_url(value: object) -> str:
    """An http or https URL without query, and without a final slash."""
    text = str(value).strip().rstrip("/")
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    # docs/rewriting.md#tracking-urls: they go into any quoting and charset as they are.
    if not valid or not re.fullmatch(r"[A-Za-z0-9:/._~%@!$()*+,;\[\]-]+", text):
        raise ValueError('must be an address such as "https://links.example.com", in plain ASCII and without a query')
    return text


def read_webhook_url(value: object) -> str:
    """An http or https URL; a name and password in it are sent as basic authentication."""
    text = str(value).strip()
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(_URL_HOST.fullmatch(parts.hostname or ""))
        valid = valid and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid or not re.fullmatch(r"[!-~]+", text) or parts.fragment:
        raise ValueError('must be an address such as "https://app.example.com/hooks/mail", in plain ASCII')
    return text


def without_userinfo(url: str) -> str:
    """The URL as messages may show it: without the name and password, and without the query, which may hold a key."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def read_flag(value: object) -> bool:
    """A boolean of TOML."""
    if isinstance(value, bool):
        return value
    raise ValueError("must be true or false, without quotes")


def read_secret(value: object, info: ValidationInfo) -> SecretStr:
    """The secret itself, or the place where it is: `{ env = "NAME" }`, `{ file = "PATH" }`, relative to the
    configuration."""
    if isinstance(value, SecretStr):
        return value
    if isinstance(value, str):
        return SecretStr(value)
    match value:
        case {"env": str(name), **rest} if not rest:
            if name not in os.environ:
                raise ValueError(f"the environment has no variable {name}")
            return SecretStr(os.environ[name])
        case {"file": str(path), **rest} if not rest:
            try:
                return SecretStr((config_directory(info.context) / path).read_text("utf-8").rstrip("\r\n"))
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"cannot read the secret's file {path}: {_reason(error)}") from None
    raise ValueError('must be a string, { env = "NAME" } or { file = "PATH" }')


class FileSecret(NamedTuple):
    """A secret in a file that another program renews; `read` returns its present content."""

    text: SecretStr
    path: Path | None  # read again each time

    def read(self) -> str:
        """Raises OSError, and ValueError if the file is not text."""
        if self.path is None:
            return self.text.get_secret_value()
        return self.path.read_text("utf-8").strip()


def read_file_secret(value: object, info: ValidationInfo) -> FileSecret:
    """A secret; if it stands in a file, the file is read each time it is needed."""
    if isinstance(value, FileSecret):
        return value
    text = read_secret(value, info)  # a file that is missing is found at the start
    path = config_directory(info.context) / value["file"] if isinstance(value, dict) and "file" in value else None
    return FileSecret(text, path)


def read_rate(value: object) -> float:
    """`10/s`, `600/m`, `5000/h`: a rate in mails a second; empty is none, which is 0."""
    if isinstance(value, float):
        return value
    text = str(value).strip().lower()
    if not text:
        return 0.0
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*/\s*([smhd])", text)
    if not found or not float(found[1]):
        raise ValueError('must be a rate such as "10/s", "600/m" or "5000/h", or empty for none')
    return float(found[1]) / _UNIT_S[found[2]]


def read_private_key(value: object, info: ValidationInfo) -> PrivateKey:
    """A secret that is an RSA (PKCS#1, PKCS#8) or Ed25519 (PKCS#8) private key in PEM."""
    if isinstance(value, RSAPrivateKey | Ed25519PrivateKey):
        return value
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # takes a command 4 ms

    text = read_secret(value, info).get_secret_value()
    try:
        key = load_pem_private_key(text.encode(), password=None)
    except TypeError:
        raise ValueError("the private key is encrypted; give it without a passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        instead = next((f", not a {what}" for mark, what in _NOT_PRIVATE.items() if mark in text), "")
        raise ValueError(f"must be a private key in PEM (-----BEGIN PRIVATE KEY-----){instead}") from None
    if isinstance(key, RSAPrivateKey) and key.key_size < _MIN_RSA_BITS:
        raise ValueError(f"no receiver accepts an RSA key of {key.key_size} bits; make one of 2048")
    if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        raise ValueError("must be an RSA or Ed25519 key: DKIM has no other")
    return key


def read_verifying_key(value: object) -> str:
    """An ECDSA public key as SendGrid shows it: DER (SubjectPublicKeyInfo) in base64, on one line. Or nothing."""
    text = "".join(str(value).split()).removeprefix("-----BEGINPUBLICKEY-----").removesuffix("-----ENDPUBLICKEY-----")
    if not text:
        return ""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        if not isinstance(load_der_public_key(base64.b64decode(text, validate=True)), EllipticCurvePublicKey):
            raise ValueError
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("must be the verification key that SendGrid shows for its signed event webhook") from None
    return text


def read_domain(value: object) -> str:
    """A domain name, in lower case and A-labels (RFC 5890)."""
    domain = domain_names.to_ascii(str(value).strip().rstrip(".")) or ""
    if not re.fullmatch(rf"{_LABEL}(?:\.{_LABEL})*", domain) or len(domain) > 253:
        raise ValueError('must be a domain such as "example.com"')
    return domain


def read_optional_domain(value: object) -> str:
    """A domain name, or nothing."""
    return read_domain(value) if str(value).strip() else ""


def read_network(value: object) -> IpNetwork:
    """An IP address or network, `10.0.0.0/8`, `::1`."""
    try:
        return ip_addresses.parse_network(str(value))
    except ValueError:
        raise ValueError('must be an IP address or network such as "10.0.0.0/8"') from None


def read_senders(value: object) -> str:
    """A pattern for reverse-paths: `*`, `@example.com`, `ann@example.com`, `*@*.example.com`."""
    text = str(value).strip()
    if text != "*" and not re.fullmatch(r"[^@\s]*@[^@\s]+", text):
        raise ValueError('must be "*", a domain such as "@example.com", or an address')
    return text


def read_stream(value: object) -> str:
    """A stream's name or pattern. Streams are the same in any case."""
    return str(value).strip().lower()


def read_optional_mailbox(value: object) -> str:
    """An address, or nothing."""
    text = str(value).strip()
    try:
        address.parse_mailbox(text)
    except address.PathSyntaxError as error:
        raise ValueError(f'must be an address such as "leave@example.com": {error}') from None
    return text


def config_directory(context: Mapping[str, Path] | None) -> Path:
    """Where paths of the file being read begin."""
    return (context or {}).get("directory", Path())


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


Flag = Annotated[bool, BeforeValidator(read_flag)]
Duration = Annotated[timedelta, BeforeValidator(read_duration)]
Size = Annotated[int, BeforeValidator(read_size)]
Address = Annotated[HostPort, BeforeValidator(read_host_port)]
OptionalAddress = Annotated[HostPort | None, BeforeValidator(read_optional_host_port)]
PublicUrl = Annotated[str, BeforeValidator(read_url)]
WebhookUrl = Annotated[str, BeforeValidator(read_webhook_url)]
Secret = Annotated[SecretStr, BeforeValidator(read_secret)]
RereadSecret = Annotated[FileSecret, BeforeValidator(read_file_secret)]
Rate = Annotated[float, BeforeValidator(read_rate)]
SigningKey = Annotated[PrivateKey, BeforeValidator(read_private_key)]
Domain = Annotated[str, BeforeValidator(read_domain)]
VerifyingKey = Annotated[str, BeforeValidator(read_verifying_key)]
OptionalDomain = Annotated[str, BeforeValidator(read_optional_domain)]
Senders = Annotated[str, BeforeValidator(read_senders)]
Stream = Annotated[str, BeforeValidator(read_stream)]
OptionalMailbox = Annotated[str, BeforeValidator(read_optional_mailbox)]
Subnet = Annotated[IpNetwork, BeforeValidator(read_network)]
