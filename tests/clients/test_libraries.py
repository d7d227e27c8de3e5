"""smtplib, aiosmtplib and Django's backend: in clear, logged in, with STARTTLS, with TLS from the first octet."""

import asyncio
import smtplib
import ssl
from collections.abc import Callable
from email.message import EmailMessage

import aiosmtplib
import pytest

from tests.clients.shop import PASSWORD, USER, Way
from tests.upstream import Arrival
from tests.waiting import until_async


def message(client: str, way: Way) -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "app@sender.test", way.recipient, client
    made.set_content("Grüße, and a line that begins\n.with a dot\n")
    made.add_alternative('<p>Grüße <a href="https://shop.example/">here</a></p>', subtype="html")
    return made


def context(way: Way) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(way.certificate))


def test_smtplib(way: Way, arrived: Callable[[str], Arrival]) -> None:
    if way.tls == "implicit":
        client: smtplib.SMTP = smtplib.SMTP_SSL("localhost", way.port, context=context(way), timeout=60)
    else:
        client = smtplib.SMTP("localhost", way.port, timeout=60)
    with client:
        if way.tls == "starttls":
            client.starttls(context=context(way))
        if way.has_login:
            client.login(USER, PASSWORD)
        assert client.send_message(message("smtplib", way)) == {}
    assert b"\r\n.with a dot\r\n" in arrived("smtplib").octets


async def _send(way: Way) -> tuple[dict[str, aiosmtplib.SMTPResponse], str]:
    client = aiosmtplib.SMTP(
        hostname="localhost",
        port=way.port,
        use_tls=way.tls == "implicit",
        start_tls=way.tls == "starttls",
        tls_context=context(way) if way.tls else None,
        username=USER if way.has_login else None,
        password=PASSWORD if way.has_login else None,
    )
    async with client:
        assert client.transport is not None
        socket = client.transport.get_extra_info("socket")
        said = await client.send_message(message("aiosmtplib", way))
    await until_async(lambda: socket.fileno() < 0)  # it closes in its own time: TLS says goodbye first
    return said


def test_aiosmtplib(way: Way, arrived: Callable[[str], Arrival]) -> None:
    refused, reply = asyncio.run(_send(way))
    assert refused == {} and reply.startswith("2.0.0 ")
    assert b"\r\n.with a dot\r\n" in arrived("aiosmtplib").octets


def test_django(way: Way, arrived: Callable[[str], Arrival], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("django", reason="pip install django")
    from django.conf import settings
    from django.core import mail

    if not settings.configured:
        settings.configure()
    monkeypatch.setenv("SSL_CERT_FILE", str(way.certificate))
    connection = mail.get_connection(
        "django.core.mail.backends.smtp.EmailBackend",
        host="localhost",
        port=way.port,
        username=USER if way.has_login else None,
        password=PASSWORD if way.has_login else None,
        use_tls=way.tls == "starttls",
        use_ssl=way.tls == "implicit",
        timeout=60,
    )
    letters = [
        mail.EmailMultiAlternatives(subject, "Grüße\n.with a dot\n", "app@sender.test", [way.recipient], bcc=[bcc])
        for subject, bcc in (("django", "hidden1@example.com"), ("django2", "hidden2@example.com"))
    ]
    for letter in letters:
        letter.attach_alternative('<p>Grüße <a href="https://shop.example/">here</a></p>', "text/html")
    assert connection.send_messages(letters) == 2  # over one connection
    assert b"\r\n.with a dot\r\n" in arrived("django").octets
    arrived("django2")
