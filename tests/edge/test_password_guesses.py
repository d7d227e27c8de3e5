"""Who guesses passwords is stopped, and nobody else."""

import re
import shutil
import smtplib
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from relay import clients
from relay.store.console import accounts
from tests.upstream import ScriptedUpstream
from tests.waypost_server import Waypost

FILTER = Path(__file__).parents[2] / "docs/fail2ban/waypost.filter.conf"
GUESSER, OTHER = "127.0.8.1", "127.9.0.1"  # the second is in none of the first one's networks


def guess(relay: Waypost, source: str, password: str, user: str = "app") -> int:
    with smtplib.SMTP("127.0.0.1", relay.port, timeout=60, source_address=(source, 0)) as client:
        client.ehlo()
        try:
            return client.login(user, password)[0]
        except smtplib.SMTPAuthenticationError as error:
            return error.smtp_code
        except smtplib.SMTPServerDisconnected:  # smtplib tries another mechanism after 421
            return 421


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waypost]:
    table = (
        f'[access]\nnetworks = []\n[[access.user]]\nname = "app"\npassword_hash = "{accounts.hash_password("right")}"\n'
    )
    with Waypost(tmp_path_factory.mktemp("guesses"), None, table) as running:
        yield running


def test_who_guesses_hears_421_and_others_log_in(relay: Waypost) -> None:
    codes = [guess(relay, GUESSER, f"wrong{n}") for n in range(12)]
    assert codes[-1] == 421
    assert set(codes) <= {535, 421}
    assert guess(relay, GUESSER, "right") == 421  # before the password is looked at
    assert guess(relay, OTHER, "right") == 235
    lines = [line for line in relay.read_log().splitlines() if "login-failed" in line]
    assert 10 <= len(lines) <= 20  # two windows at most
    [pattern] = re.findall(r"failregex = (.*)", FILTER.read_text())
    pattern = pattern.replace("<ADDR>", r"(?P<ip>[0-9a-f.:]+)")
    assert {re.search(pattern, line.partition(" ")[2])["ip"] for line in lines} == {GUESSER}  # type: ignore[index]


def test_a_crowd_that_guesses_keeps_nobody_else_out(relay: Waypost) -> None:
    with ThreadPoolExecutor(90) as crowd:
        guesses = [crowd.submit(guess, relay, "127.77.0.1", f"wrong{n}") for n in range(90)]
        assert [guess(relay, OTHER, "right") for _ in range(3)] == [235] * 3
        codes = [one.result() for one in guesses]
    assert set(codes) <= {535, 421}  # smtplib tries a second mechanism after 535
    checked = relay.read_log().count("login-failed ip=127.77.0.1 ")
    assert 10 <= checked <= 24  # two that were under way, and once more where a minute began


def test_fail2ban_reads_the_line(relay: Waypost, tmp_path: Path) -> None:
    program = shutil.which("fail2ban-regex")
    if program is None:
        pytest.skip("there is no fail2ban here")
    guess(relay, "127.44.0.1", "wrong")
    log = tmp_path / "waypost.log"
    log.write_text(next(line for line in relay.read_log().splitlines() if "login-failed" in line) + "\n")
    found = subprocess.run([program, log, FILTER], check=True, capture_output=True, text=True).stdout
    assert "1 lines, 0 ignored, 1 matched, 0 missed" in found


def test_an_upstream_is_asked_once_for_a_wrong_password_and_not_for_ever(tmp_path: Path) -> None:
    upstream = ScriptedUpstream(passwords={"app": "right"})
    with Waypost(tmp_path, upstream.port, '[access]\nnetworks = []\nauth = "upstream"\n') as relay:
        assert guess(relay, OTHER, "right") == 235
        asked = upstream.verbs["AUTH"]
        assert [guess(relay, OTHER, "wrong") for _ in range(3)] == [535] * 3
        once = upstream.verbs["AUTH"] - asked
        # From many networks, so that only the user's own limit can stop it.
        codes = [guess(relay, f"127.{n}.0.1", f"wrong{n}") for n in range(20, 45)]
        assert codes[-1] == 454
        assert upstream.verbs["AUTH"] - asked <= 21 * once  # two windows at most
        assert guess(relay, OTHER, "right") == 235
    upstream.close()


def test_wider_networks_may_do_three_and_nine_times_as_much() -> None:
    failed = clients.EventCounter((clients.Limit(10, 60.0),))
    for host in range(30):
        assert not failed.is_over(f"198.51.100.{host}", 0.0)
        failed.count(f"198.51.100.{host}", 0.0)
    assert failed.is_over("198.51.100.200", 59.0)
    assert not failed.is_over("198.51.101.1", 59.0)
    assert not failed.is_over("198.51.100.200", 60.0)


@pytest.mark.parametrize(
    ("ip", "networks"),
    [
        ("192.0.2.77", ("192.0.2.77/32", "192.0.2.0/24", "192.0.0.0/21")),
        ("::ffff:192.0.2.77", ("192.0.2.77/32", "192.0.2.0/24", "192.0.0.0/21")),
        ("2001:db8:1:2:3::4", ("2001:db8:1:2::/64", "2001:db8:1::/48", "2001:db8::/32")),
    ],
)
def test_a_client_is_known_by_its_networks(ip: str, networks: tuple[str, ...]) -> None:
    assert clients.networks_of(ip) == networks


def test_memory_is_bounded_and_who_came_last_is_remembered() -> None:
    failed = clients.EventCounter((clients.Limit(1, 60.0),), max_networks=9)
    for n in range(100):
        failed.count(f"10.{n}.0.1", 0.0)
    assert failed.is_over("10.99.0.1", 1.0)
    assert not failed.is_over("10.1.0.1", 1.0)
