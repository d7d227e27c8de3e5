"""What the holder of an account may say: whom a mail is from, and of which stream it is."""

from collections.abc import Callable, Iterator

import pytest

from relay.store.console import accounts
from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost, html_mail

Send = Callable[..., str]
OWN = b"From: App <app@shop.example>\r\n"


@pytest.fixture(scope="module")
def shared(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waypost]:
    password = accounts.hash_password("secret")
    tables = "".join(
        f'[[access.user]]\nname = "{name}"\npassword_hash = "{password}"\n{more}\n'
        for name, more in (
            ("shop", 'senders = ["@shop.example", "ann@bücher.example"]'),
            ("news", 'stream = "news"'),
            ("both", 'stream = "news"\nstreams = ["receipts-*", "transactional"]'),
            ("any", ""),
        )
    )
    with Waypost(tmp_path_factory.mktemp("shared"), upstream.port, tables) as running:
        yield running


@pytest.fixture(scope="module")
def send(shared: Waypost) -> Send:
    def send(user: str, octets: bytes, to: str, sender: str = "app@shop.example") -> str:
        with shared.client() as client:
            if user:
                client.login(user, "secret")
            client.ehlo()
            client.mail(sender)
            assert client.rcpt(to)[0] == 250
            code, text = client.data(octets)
            return f"{code} {text.decode()}"

    return send


@pytest.mark.parametrize(
    ("header", "is_taken"),
    [
        (OWN, True),
        (b'From: "ceo@other.example" <app@SHOP.example.>\r\n', True),
        (b'From: (x (y) " ) a@shop.example, "b c"@shop.example\r\nSender: App\r\n <c@shop.example>\r\n', True),
        (b"From: Ann <ann@xn--bcher-kva.example>\r\n", True),
        (b"From: CEO <ceo@other.example>\r\n", False),
        (b"From: a@shop.example, ceo@other.example\r\n", False),
        (b"From: a@shop.example <ceo@other.example>\r\n", False),
        (b"From: <a@shop.example> ceo@other.example\r\n", False),
        (b"From: <a@shop.example> <ceo@other.example>\r\n", False),
        (b'From: a@shop.example, "x <ceo@other.example> \\"\r\n', False),
        (b"From: a@shop.example (x\r\n", False),
        (b"From: <@shop.example:ceo@other.example>\r\n", False),
        (b"From: friends:a@shop.example;\r\n", False),
        (b"From: a@shop.example\r\n\tceo@other.example\r\n", False),
        (b"From: a@shop.example" + b" " * 5000 + b", b@shop.example\r\n", False),
        (b"From: nobody\r\n", False),
        (b"From:\r\n", False),
        (OWN + b"From: CEO <ceo@other.example>\r\n", False),
        (OWN + OWN, False),
        (OWN + b"From : ceo@other.example\r\n", False),
        (OWN + b"junk\r\nfrom: ceo@other.example\r\n", False),
        (OWN + b"Sender: ceo@other.example\r\n", False),
        (OWN + b"Sender: a@shop.example\r\nSender: ceo@other.example\r\n", False),
        (b"X-From: ceo@other.example\r\n", True),  # names nobody
    ],
)
@pytest.mark.parametrize("sender", ["app@shop.example", ""])
def test_senders_holds_for_from_and_sender_too(send: Send, header: bytes, is_taken: bool, sender: str) -> None:
    said = send("shop", header + b"Subject: x\r\n\r\nx\r\n", "bound@example.com", sender)
    assert said.startswith("250" if is_taken else "550 5.7.1"), said


def test_a_text_without_a_header_says_nobody_is_its_author(send: Send) -> None:
    assert send("shop", b"   ALARM\r\nFrom: ceo@other.example\r\n", "bound@example.com").startswith("250")


def test_who_may_send_as_all_may_write_as_all(send: Send) -> None:
    for user in ("any", ""):
        assert send(user, b"From: ceo@other.example\r\n\r\nx\r\n", "free@example.com").startswith("250")


@pytest.mark.parametrize(
    ("user", "stream", "is_taken"),
    [
        ("news", "news", True),
        ("news", "News", True),
        ("news", "news2", False),
        ("news", "transactional", False),
        ("both", "news", True),
        ("both", "receipts-2026", True),
        ("both", "transactional", True),
        ("both", "news2", False),
        ("any", "whatever", True),
        ("any", "transactional", False),
        ("", "transactional", True),
    ],
)
def test_an_account_names_its_own_streams(send: Send, user: str, stream: str, is_taken: bool) -> None:
    said = send(user, html_mail(header=f"X-Waypost-Stream: {stream}\r\n"), "stream@example.com")
    assert said.startswith("250" if is_taken else "550 5.7.1"), said


def test_an_unsubscribe_cannot_be_evaded_by_a_word(send: Send, shared: Waypost) -> None:
    who = "left@example.com"
    shared.cli("suppressions", "add", who, "--stream", "news", "--reason", "unsubscribe")
    assert send("news", html_mail(), who).startswith("250")
    assert shared.events("suppressed", who)
    for stream in ("transactional", "news2"):
        assert send("news", html_mail(header=f"X-Waypost-Stream: {stream}\r\n"), who).startswith("550 5.7.1")


def test_the_networks_may_be_kept_to_streams_too(
    upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tables = '[access]\nstreams = ["news"]\n'
    with Waypost(tmp_path_factory.mktemp("streams"), upstream.port, tables) as relay:
        assert relay.send(html_mail(header="X-Waypost-Stream: news\r\n"), "net@example.com").startswith("250")
        said = relay.send(html_mail(header="X-Waypost-Stream: transactional\r\n"), "net@example.com")
        assert said.startswith('550 5.7.1 this client may not send as stream "transactional"')
        assert relay.send(html_mail(), "net@example.com").startswith("250")
