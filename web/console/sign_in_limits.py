"""Limits on wrong passwords at the console.

In: a sign-in, before its password is looked at.  Out: how long it must wait. A sign-in counts as wrong from its start,
so that simultaneous ones count each other; it is taken back if the password is right.

The client's networks are counted, as at SMTP, and so is the account. Neither may lock the operator out: an account has
more tries than any one network, and a browser that this account has signed in with before is counted by itself.
"""

import hashlib
import hmac
import secrets
import time
from typing import NamedTuple

from relay import clients

# More than the widest network may do in a day (450): it takes several to close an account, and then for an hour.
ACCOUNT_LIMIT = clients.Limit(500, clients.HOUR_S)
_NOWHERE = "::"  # a socket file has no address


class SignInAttempt(NamedTuple):
    """One sign-in, at a time of the monotonic clock."""

    ip: str
    account: str
    browser: str  # empty, or what `BrowserCookies` knows it by
    at: float


class SignInLimits:
    """The history of sign-ins that failed or are under way."""

    def __init__(self) -> None:
        self._networks = clients.failed_login_limit()
        self._browsers = clients.failed_login_limit()
        self._accounts = clients.EventCounter((ACCOUNT_LIMIT,))

    def start_attempt(self, ip: str, account: str, browser: str) -> tuple[float, SignInAttempt]:
        """How long this sign-in must wait; if not at all, it is counted until it is taken back."""
        guess = SignInAttempt(ip or _NOWHERE, account, browser, time.monotonic())
        if guess.browser:
            wait_s = self._browsers.key_wait_s(guess.browser, guess.at)
        else:
            wait_s = max(
                self._networks.wait_s(guess.ip, guess.at),
                self._accounts.key_wait_s(guess.account, guess.at),
            )
        if not wait_s:
            self._count(guess)
        return wait_s, guess

    def _count(self, guess: SignInAttempt) -> None:
        if guess.browser:
            self._browsers.count_key(guess.browser, guess.at)
        else:
            self._networks.count(guess.ip, guess.at)
            self._accounts.count_key(guess.account, guess.at)

    def forget_attempt(self, guess: SignInAttempt) -> None:
        """Takes the sign-in back: its password was right, or could not be checked."""
        if guess.browser:
            self._browsers.take_back_key(guess.browser, guess.at)
        else:
            self._networks.take_back(guess.ip, guess.at)
            self._accounts.take_back_key(guess.account, guess.at)


class BrowserCookies:
    """Cookies for browsers in which an account has signed in: random bits, with a MAC over them and the account."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make_cookie(self, account: str) -> str:
        return self._with_mac(secrets.token_urlsafe(16), account)

    def read_browser(self, cookie: str, account: str) -> str:
        """What the browser is known by; empty if that account has never signed in with it."""
        bits, _, _ = cookie.partition(".")
        is_ours = hmac.compare_digest(self._with_mac(bits, account).encode(), cookie.encode("utf-8", "surrogatepass"))
        return bits if is_ours else ""

    def _with_mac(self, bits: str, account: str) -> str:
        mac = hmac.digest(self._key, f"{bits}.{account}".encode("utf-8", "surrogatepass"), hashlib.sha256)
        return f"{bits}.{mac.hex()}"
