"""Amazon's certificates: fetched from one place only, checked, and one at a time."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.web.providers import (
    AMAZON,
    CERTIFICATE_URL,
    FETCHED,
    ISSUER_URL,
    OTHER,
    ROOT,
    SERVED,
    TABLES,
    certificate,
    certificate_url,
    fetch,
    from_amazon,
)
from tests.web.scene import Scene, no_fault_logged
from web.inbound.certificates import CertificateCache
from web.inbound.provider_event import BadSignatureError

REFUSED_URLS = (
    "https://sns.s3-us-west-2.amazonaws.com/evil.pem",
    "https://sns.s3-accelerate.amazonaws.com/evil.pem",
    "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-" + "a" * 32 + ".pem",  # another region's
    "https://sns.eu-west-1.amazonaws.com/x.pem?Action=GetEndpointAttributes",
    CERTIFICATE_URL + "?x=1",
    CERTIFICATE_URL + "#x",
    CERTIFICATE_URL + "\n",
    CERTIFICATE_URL + " ",
    CERTIFICATE_URL.replace("https:", "http:"),
    CERTIFICATE_URL.replace("//", "//user@"),
    CERTIFICATE_URL.replace(".com/", ".com:443/"),
    CERTIFICATE_URL.replace(".com/", ".com.evil.example/"),
    CERTIFICATE_URL.replace(".com/", ".com/../"),
    CERTIFICATE_URL.replace("0123", "012G"),
    CERTIFICATE_URL.upper(),
    "https://sns.eu-west-1.amazonaws.com/a b.pem",
    "",
)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Scene(tmp_path_factory.mktemp("strangers"), TABLES, fetch=fetch, roots=[ROOT]) as running:
        yield running


def test_a_certificate_is_fetched_from_one_place_only(scene: Scene) -> None:
    FETCHED.clear()
    with no_fault_logged():
        for url in REFUSED_URLS:
            answer = from_amazon(scene, "{}", SigningCertURL=url)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "forged"), url
    assert not FETCHED


def test_a_certificate_is_amazons_of_today_and_leads_to_a_root(scene: Scene) -> None:
    alone = ec.generate_private_key(ec.SECP256R1())
    bad = {
        certificate_url(1): certificate(AMAZON, "evil.example"),
        certificate_url(2): certificate(AMAZON, ends=timedelta(days=-8)),
        certificate_url(3): certificate(AMAZON, ends=timedelta(days=61)),  # not yet
        certificate_url(4): certificate(AMAZON, by=alone),
        certificate_url(5): b"<html>no certificate</html>",
        certificate_url(6): ROOT.public_bytes(serialization.Encoding.PEM),
    }
    SERVED.update(bad)
    for url in bad:
        assert from_amazon(scene, "{}", SigningCertURL=url).status_code == 401, url
    FETCHED.clear()
    for url in bad:  # each is known by now
        assert from_amazon(scene, "{}", SigningCertURL=url).status_code == 401
    assert not FETCHED
    SERVED[certificate_url(7)] = certificate(AMAZON, "sns.eu-west-1.amazonaws.com")
    assert from_amazon(scene, "{}", SigningCertURL=certificate_url(7)).status_code == 200
    assert [certificate_url(7), ISSUER_URL] == FETCHED  # the issuer, which Amazon's file leaves out
    assert from_amazon(scene, "{}", SigningCertURL=certificate_url(7)).status_code == 200
    assert from_amazon(scene, "{}", key=OTHER, SigningCertURL=certificate_url(7)).status_code == 401
    assert len(FETCHED) == 2
    assert from_amazon(scene, "{}", SigningCertURL=certificate_url(8)).status_code == 503  # Amazon does not answer


def test_a_message_that_is_an_hour_old_is_refused(scene: Scene) -> None:
    now = datetime.now(UTC)
    for minutes, code in ((-62, 401), (-55, 200), (55, 200), (62, 401)):
        at = (now + timedelta(minutes=minutes)).isoformat()
        assert from_amazon(scene, "{}", Timestamp=at).status_code == code
    assert from_amazon(scene, "{}", Timestamp="soon").status_code == 401


def test_one_certificate_is_fetched_at_a_time() -> None:
    async def play() -> None:
        fetched: list[str] = []
        goes_on = asyncio.Event()

        async def slow(url: str) -> bytes:
            fetched.append(url)
            await goes_on.wait()
            return SERVED.get(url, b"")

        certificates = CertificateCache(slow, [ROOT])
        names = ["sns.amazonaws.com"]
        first, second, *_ = waiting = [
            asyncio.create_task(certificates.get_key(CERTIFICATE_URL, names)) for _ in range(50)
        ]
        while not fetched:
            await asyncio.sleep(0)
        with pytest.raises(OSError, match="being fetched"):
            await certificates.get_key(CERTIFICATE_URL, names)  # the memory of those who wait is bounded
        for number in range(20, 40):
            with pytest.raises(OSError, match="being fetched"):
                await certificates.get_key(certificate_url(number), names)
        goes_on.set()
        assert await first == await second
        await asyncio.gather(*waiting)
        assert fetched == [CERTIFICATE_URL, ISSUER_URL]
        with pytest.raises(BadSignatureError):
            await certificates.get_key(certificate_url(20), names)

    asyncio.run(play())
