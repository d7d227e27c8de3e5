"""A disk that is full or fails: only 4xx for what cannot be kept, and all is well again when the disk is."""

import errno
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.figures import Figure
from tests.faults.queued_mail import drained
from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost, html_mail

QUEUED = '[delivery]\nmode = "queued"\nretry = ["1s"]\n'
pytestmark = pytest.mark.sqlite  # its file is on the disk that is full or fails
BIG = html_mail(extra="<p>" + "much to keep " * 20_000 + "</p>\r\n".replace("much", "\r\nmuch"))


def sent(relay: Waypost, recipient: str, octets: bytes = b"") -> str:
    """The reply to the dot, or to whatever was refused before it."""
    with relay.client() as client:
        client.ehlo()
        for code, text in (client.mail("app@sender.test"), client.rcpt(recipient)):
            if code != 250:
                return f"{code} {text.decode()}"
        code, text = client.data(octets or html_mail())
        return f"{code} {text.decode()}"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)], capture_output=True)
    if done.returncode:
        pytest.skip(f"a small disk needs root and mount: {done.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    """Leaves no octet free."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(b"\0" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC
                size //= 2
    return filler


def test_a_full_disk_refuses_for_a_while_and_loses_nothing(
    small_disk: Path, sink: ScriptedUpstream, figure: Figure
) -> None:
    with Waypost(small_disk, sink.port, QUEUED) as relay:
        assert sent(relay, "before@example.com").startswith("250")
        sink.to("before@example.com")
        filler = fill(small_disk)
        replies = [sent(relay, f"full-{n}@example.com", BIG) for n in range(10)]
        filler.unlink()
        assert sent(relay, "after@example.com").startswith("250")
        sink.to("after@example.com")
        drained(relay)
        _only_put_off(replies, sink, figure, "full")


@contextmanager
def failing(relay: Waypost) -> Iterator[None]:
    """Every write that makes a file of the server's longer fails (EFBIG), as on a disk that fails."""
    processes = relay.children()
    for pid in processes:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    yield
    for pid in processes:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def test_a_disk_that_fails_refuses_for_a_while_and_loses_nothing(
    tmp_path: Path, sink: ScriptedUpstream, figure: Figure
) -> None:
    with Waypost(tmp_path, sink.port, QUEUED) as relay:
        assert sent(relay, "sound@example.com").startswith("250")
        sink.to("sound@example.com")
        with failing(relay):
            replies = [sent(relay, f"failing-{n}@example.com") for n in range(10)]
        assert sent(relay, "mended@example.com").startswith("250")
        sink.to("mended@example.com")
        drained(relay)
        _only_put_off(replies, sink, figure, "failing")


def _only_put_off(replies: list[str], sink: ScriptedUpstream, figure: Figure, name: str) -> None:
    accepted = [n for n, reply in enumerate(replies) if reply.startswith("250")]
    assert len(accepted) < len(replies)
    assert all(reply[:1] in "24" for reply in replies), replies
    for n in accepted:
        sink.to(f"{name}-{n}@example.com")
    figure(f"{len(replies)} mails, {len(replies) - len(accepted)} put off with 4xx, {len(accepted)} kept, lost 0")


def test_inline_mail_goes_through_a_full_disk(small_disk: Path, sink: ScriptedUpstream) -> None:
    with Waypost(small_disk, sink.port, '[delivery]\nretry = ["1s"]\n') as relay:
        filler = fill(small_disk)
        assert sent(relay, "through@example.com").startswith("250")
        assert sent(relay, "e550-5.1.1+through@example.com").startswith("550")
        assert sent(relay, "e451-4.3.0-n1+through@example.com").startswith("4")
        filler.unlink()
        assert len(sink.to("through@example.com")) == 1
