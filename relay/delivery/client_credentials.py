"""The clients' own credentials, tried upstream and used there (`[access] auth = "upstream"`).

In: a name and password that a client gave.  Out: the Login with which that user's mail is sent. Passwords are only in
the memory of the mail processes: after a restart, mail of a user waits until the user logs in again.
"""

import hmac
import secrets
import time
from collections import OrderedDict
from typing import Protocol

from relay import clients
from relay.envelope import Login
from relay.reply import Reply, refusal

# A wrong password is refused from memory for so long: the upstream sees our address only, and locks accounts.
_REFUSED_FOR_S = 300.0
_MAX_REFUSED = 10_000
WAITING_FOR_LOGIN = Reply(
    0, "", "authentication: the password is not known after a restart; waiting for the user to log in again"
)


class CredentialChecker(Protocol):
    """Checks credentials: the upstreams."""

    async def try_login(self, login: Login, reverse_path: str = "") -> Reply: ...


class Logins:
    """The credentials of each user that were accepted when they were last tried."""

    def __init__(self, checker: CredentialChecker) -> None:
        self._checker = checker
        self._logins: dict[str, Login] = {}
        self._key = secrets.token_bytes(32)
        self._refused: OrderedDict[bytes, float] = OrderedDict()  # keyed hashes of credentials, oldest first
        self._failed = clients.failed_login_limit()  # by user

    async def log_in(self, name: str, password: str) -> bool:
        """True if the credentials are good and new. Raises RefusedError: 535, or 454 if they cannot be checked."""
        login = Login(name, password)
        now = time.monotonic()
        credentials, user = self._digest(name, password), self._digest(name).hex()
        if self._refused.get(credentials, 0.0) > now:
            raise refusal(535, "5.7.8", "authentication failed: the upstream refuses these credentials")
        if self._failed.is_key_over(user, now):
            known = self._logins.get(name)
            # While somebody guesses, the user can go on: these were good when the upstream last saw them.
            if known and hmac.compare_digest(self._digest(name, known.password), credentials):
                return False
            raise refusal(454, "4.7.0", "too many failed logins of this user; please try again later")
        # Where upstreams differ by sender, the user's own address decides which one is asked.
        reply = await self._checker.try_login(login, name if "@" in name else "")
        if reply.is_permanent:
            self._failed.count_key(user, now)
            self._refused[credentials] = now + _REFUSED_FOR_S
            if len(self._refused) > _MAX_REFUSED:
                self._refused.popitem(last=False)
            raise refusal(535, "5.7.8", "authentication failed: the upstream refuses these credentials")
        if not reply.accepts:
            raise refusal(454, "4.7.0", "the upstream cannot check credentials now; please try again later")
        is_new = self._logins.get(name) != login
        self._logins[name] = login
        return is_new

    def _digest(self, *texts: str) -> bytes:
        return hmac.digest(self._key, "\0".join(texts).encode("utf-8", "surrogateescape"), "sha256")

    def get(self, name: str) -> Login | None:
        """The user's credentials, if the user has logged in since the start."""
        return self._logins.get(name)

    def all_logins(self) -> list[Login]:
        """All of them."""
        return list(self._logins.values())

    def add(self, login: Login) -> None:
        """Adds credentials that another process found to be good."""
        self._logins[login.username] = login
        self._refused.pop(self._digest(login.username, login.password), None)

    def forget(self, login: Login) -> None:
        """Removes credentials that the upstream refuses now, unless the user has given others meanwhile."""
        if self._logins.get(login.username) == login:
            del self._logins[login.username]
