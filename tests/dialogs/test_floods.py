"""What strangers send in masses: it costs them their connection, and others nothing."""

import contextlib
import socket
from itertools import count

import pytest

from tests.return_path.return_path_scene import DOMAIN, ReturnPathScene, scene  # noqa: F401  a fixture
from tests.smtp_client import connected

REPORT_OCTETS = (16 << 20) + 1


def _replies_until_closed(port: int, octets: bytes) -> list[bytes]:
    with socket.create_connection(("127.0.0.1", port), 60) as client:
        client.sendall(octets)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while block := client.recv(1 << 16):
                received += block
        return received.splitlines()


@pytest.mark.parametrize("command", [b"NOOP", b"RSET", b"HELP", b"VRFY x"])
def test_a_stranger_with_many_commands_and_no_mail_is_let_go(scene: ReturnPathScene, command: bytes) -> None:  # noqa: F811
    replies = _replies_until_closed(scene.relay.port, (command + b"\r\n") * 150)
    assert replies[-1] == b"421 4.7.0 too many errors"
    assert len(replies) == 1 + 120 + 1  # the greeting, a hundred free ones, twenty mistakes


def test_a_stranger_who_tries_recipients_is_let_go_and_logged_once(scene: ReturnPathScene) -> None:  # noqa: F811
    before = scene.relay.read_log().count(" refused ")
    tries = b"".join(b"RCPT TO:<nobody%d@%s>\r\n" % (n, DOMAIN.encode()) for n in range(100))
    replies = _replies_until_closed(scene.relay.port, b"EHLO a.test\r\nMAIL FROM:<>\r\n" + tries)
    assert replies[-1] == b"421 4.7.0 too many errors"
    assert sum(reply.startswith(b"550") for reply in replies) == 39
    log = scene.relay.read_log()
    assert log.count(" refused ") == before + 1
    assert " refused-again ip=127.0.0.1 count=38" in log


def test_lines_that_are_too_long_are_mistakes(scene: ReturnPathScene) -> None:  # noqa: F811
    replies = _replies_until_closed(scene.relay.port, (b"x" * 13000 + b"\r\n") * 21)
    assert replies[-1] == b"421 4.7.0 too many errors"


def test_a_large_report_is_refused_at_its_size_and_in_its_data(scene: ReturnPathScene) -> None:  # noqa: F811
    with scene.relay.client() as world:
        world.ehlo()
        assert world.mail("", [f"SIZE={REPORT_OCTETS}"])[0] == 552
        world.rset()
        world.mail("")
        world.rcpt(f"postmaster@{DOMAIN}")
        code, text = world.data(b"Subject: x\r\n\r\n" + b"0123456789abcde\r\n" * (REPORT_OCTETS // 16))
        assert (code, text[:5]) == (552, b"5.3.4")


def test_what_strangers_hold_back_takes_no_room_of_those_who_may_relay(scene: ReturnPathScene) -> None:  # noqa: F811
    number = count()
    with contextlib.ExitStack() as open_:
        for _ in range(5):
            client, replies = open_.enter_context(connected(scene.relay.port))
            replies.next()
            client.sendall(b"EHLO a.test\r\nMAIL FROM:<>\r\nRCPT TO:<postmaster@%s>\r\nDATA\r\n" % DOMAIN.encode())
            while not replies.next().startswith("354"):
                pass
            client.sendall(b"Subject: %d\r\n\r\n" % next(number) + b"0123456789abcde\r\n" * 240_000)
        with scene.relay.client() as app:
            app.login("app", "secret")
            app.mail("app@sender.test", [f"SIZE={24 << 20}"])
            app.rcpt("crowded@example.com")
            assert app.data(b"Subject: x\r\n\r\nx\r\n")[0] == 250
