"""The clients' own credentials, tried upstream and used there (`[access] auth = "upstream"`).

In: a name and password that a client gave.  Out: the Login with which that user's mail is sent. They are held
in the mail processes' memory and nowhere else: after a restart, mail of a user waits until the user logs in again.
"""

import hmac
import secrets
import time
from collections import OrderedDict
from typing import Protocol

from relay import clients
from relay.envelope import Login
from relay.reply import Reply, refusal

# A wrong password is answered from memory for so long: an upstream sees one address, ours, and locks accounts.
_REFUSED_FOR_S = 300.0
_MAX_REFUSED = 10_000
WAITING_FOR_LOGIN = Reply(
    0, "", "authentication: the password is not known after a restart; waiting for the user to log in again"
)


class CredentialChecker(Protocol):
    """Who can say whether credentials are good: the upstreams."""

    async def try_login(self, login: Login, reverse_path: str = "") -> Reply: ...


class Logins:
    """By user name, the credentials that were good when they were last tried."""

    def __init__(self, checker: CredentialChecker) -> None:
        self._checker = checker
        self._known: dict[str, Login] = {}
        self._key = secrets.token_bytes(32)
        self._refused: OrderedDict[bytes, float] = OrderedDict()  # keyed hashes of credentials, oldest first
        self._failed = clients.failed_login_limit()  # by user

    async def log_in(self, name: str, password: str) -> bool:
        """True if they are good and were not known yet. Raises RefusedError: 535, or 454 where nobody can say."""
        login = Login(name, password)
        now = time.monotonic()
        tried, user = self._digest(name, password), self._digest(name).hex()
        if self._refused.get(tried, 0.0) > now:
            raise refusal(535, "5.7.8", "authentication failed: the upstream refuses these credentials")
        if self._failed.is_key_over(user, now):
            known = self._known.get(name)
            # The rightful user goes on while somebody guesses: these were good when the upstream last saw them.
            if known and hmac.compare_digest(self._digest(name, known.password), tried):
                return False
            raise refusal(454, "4.7.0", "too many failed logins of this user; please try again later")
        # Where upstreams differ by sender, the user's own address says which one knows the user.
        reply = await self._checker.try_login(login, name if "@" in name else "")
        if reply.is_permanent:
            self._failed.count_key(user, now)
            self._refused[tried] = now + _REFUSED_FOR_S
            if len(self._refused) > _MAX_REFUSED:
                self._refused.popitem(last=False)
            raise refusal(535, "5.7.8", "authentication failed: the upstream refuses these credentials")
        if not reply.accepts:
            raise refusal(454, "4.7.0", "the upstream cannot check credentials now; please try again later")
        is_new = self._known.get(name) != login
        self._known[name] = login
        return is_new

    def _digest(self, *texts: str) -> bytes:
        return hmac.digest(self._key, "\0".join(texts).encode("utf-8", "surrogateescape"), "sha256")

    def get(self, name: str) -> Login | None:
        """The user's credentials, if the user has logged in since the start."""
        return self._known.get(name)

    def known(self) -> list[Login]:
        """All of them."""
        return list(self._known.values())

    def add(self, login: Login) -> None:
        """Another process has seen that they are good."""
        self._known[login.username] = login
        self._refused.pop(self._digest(login.username, login.password), None)

    def forget(self, login: Login) -> None:
        """The upstream refuses them now. Nothing happens if the user has given others meanwhile."""
        if self._known.get(login.username) == login:
            del self._known[login.username]
