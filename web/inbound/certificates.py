"""The certificates with which Amazon signs: fetched once, checked, and kept until they expire.

In: a certificate's URL, and the names that it must have.  Out: its RSA key, or BadSignatureError; OSError while it
cannot be fetched.
RFC 5280: the chain must lead to one of the system's roots. Anybody can make us fetch, so there is one fetch at a time,
and a URL without a certificate is not fetched again for a while.
"""

import asyncio
import re
import ssl
import time
import warnings
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509 import verification
from cryptography.x509.oid import AuthorityInformationAccessOID

from web.inbound.provider_event import BadSignatureError

Fetch = Callable[[str], Awaitable[bytes]]  # raises OSError
_MAX_KEYS = 20
_MAX_WAITING = 50  # messages, of 256 KB each
_MAX_REFUSED = 1000  # URLs
_REFUSED_FOR_S = 600
_UNREACHABLE_FOR_S = 20  # Amazon asks again after 20 s, three times
_MAX_CHAIN = 5  # certificates beside the first
# Where Amazon's authorities, its own and DigiCert, serve the certificate that signed one (RFC 5280 §4.2.2.1). Its
# signature is checked, so that plain HTTP, which is what such URLs are, does no harm.
_ISSUER_URL = re.compile(
    r"http://(?:crt\.[a-z0-9]{1,30}\.amazontrust\.com|cacerts\.digicert\.com)/[A-Za-z0-9-]{1,80}(?:\.cer|\.crt)"
)
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]++-----END CERTIFICATE-----")


class _CertifiedKey(NamedTuple):
    key: rsa.RSAPublicKey
    ends_at: datetime


class CertificateCache:
    """The certificates seen so far. `roots` are the trusted authorities; None: those that the system trusts."""

    def __init__(self, fetch: Fetch, roots: Sequence[x509.Certificate] | None = None) -> None:
        self._fetch = fetch
        self._roots = roots
        self._keys: dict[str, _CertifiedKey] = {}
        self._errors_by_url: OrderedDict[str, tuple[float, Exception]] = OrderedDict()  # until when, and why
        self._fetching_url = ""
        self._waiting = 0  # tasks that wait for the fetch that is under way
        self._lock = asyncio.Lock()

    async def get_key(self, url: str, names: Sequence[str]) -> rsa.RSAPublicKey:
        """The key of the certificate at a URL that the caller has checked. Raises BadSignatureError, OSError."""
        known = self._keys.get(url)
        if known is not None and datetime.now(UTC) < known.ends_at:
            return known.key
        if self._waiting and (self._fetching_url != url or self._waiting >= _MAX_WAITING):
            raise OSError("a certificate is being fetched")
        self._waiting += 1
        self._fetching_url = url
        try:
            async with self._lock:
                known = self._keys.get(url)  # another task may have fetched it meanwhile
                if known is None or datetime.now(UTC) >= known.ends_at:
                    self._keys.pop(url, None)
                    known = await self._fetch_key(url, names)
                    if len(self._keys) >= _MAX_KEYS:
                        self._keys.clear()
                    self._keys[url] = known
                return known.key
        finally:
            self._waiting -= 1

    async def _fetch_key(self, url: str, names: Sequence[str]) -> _CertifiedKey:
        until, why = self._errors_by_url.get(url, (0.0, None))
        if why is not None and time.monotonic() < until:
            raise type(why)(*why.args)
        try:
            found = await self._verify(await self._fetch(url), names)
        except OSError:
            self._refuse(url, OSError("the certificate could not be fetched a short time ago"), _UNREACHABLE_FOR_S)
            raise
        except BadSignatureError as error:
            self._refuse(url, error, _REFUSED_FOR_S)
            raise
        self._errors_by_url.pop(url, None)
        return found

    def _refuse(self, url: str, error: Exception, for_s: int) -> None:
        self._errors_by_url[url] = (time.monotonic() + for_s, error)
        self._errors_by_url.move_to_end(url)
        if len(self._errors_by_url) > _MAX_REFUSED:
            self._errors_by_url.popitem(last=False)

    async def _verify(self, octets: bytes, names: Sequence[str]) -> _CertifiedKey:
        try:
            first, *others = [x509.load_pem_x509_certificate(pem) for pem in _PEM.findall(octets)[: 1 + _MAX_CHAIN]]
            key = first.public_key()
        except (ValueError, UnsupportedAlgorithm):
            raise BadSignatureError("no certificate") from None
        if not isinstance(key, rsa.RSAPublicKey):
            raise BadSignatureError("no certificate of an RSA key")
        if self._roots is None:
            self._roots = await asyncio.to_thread(_system_roots)
        if not self._leads_to_a_root(first, others, names):
            others += await self._issuer(
                first
            )  # an issuer that the server leaves out of the chain is named in the certificate
            if not self._leads_to_a_root(first, others, names):
                raise BadSignatureError("the certificate is not Amazon's, or not of today")
        return _CertifiedKey(key, first.not_valid_after_utc)

    def _leads_to_a_root(
        self, first: x509.Certificate, intermediates: Sequence[x509.Certificate], names: Sequence[str]
    ) -> bool:
        if not self._roots:
            return False
        builder = verification.PolicyBuilder().store(verification.Store(list(self._roots))).time(datetime.now(UTC))
        for name in names:
            try:
                builder.build_server_verifier(x509.DNSName(name)).verify(first, list(intermediates))
            except (verification.VerificationError, ValueError):
                continue
            return True
        return False

    async def _issuer(self, certificate: x509.Certificate) -> list[x509.Certificate]:
        try:
            access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
            urls = [
                one.access_location.value
                for one in access
                if one.access_method == AuthorityInformationAccessOID.CA_ISSUERS
                and isinstance(one.access_location, x509.UniformResourceIdentifier)
            ]
            url = next((url for url in urls if _ISSUER_URL.fullmatch(url)), "")
            return [x509.load_der_x509_certificate(await self._fetch(url))] if url else []
        except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
            return []


def _system_roots() -> list[x509.Certificate]:
    """The authorities that this machine trusts: OpenSSL's file, else the files of its folder."""
    paths = ssl.get_default_verify_paths()
    files = [Path(paths.cafile)] if paths.cafile else sorted(Path(paths.capath).glob("*.0")) if paths.capath else []
    found: dict[bytes, x509.Certificate] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old roots do not follow the RFC in every point
        for file in files:
            for pem in _PEM.findall(file.read_bytes()):
                try:
                    found[pem] = x509.load_pem_x509_certificate(pem)
                except ValueError:
                    continue
    return list(found.values())
