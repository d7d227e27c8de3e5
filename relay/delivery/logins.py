"""The clients' own credentials, tried upstream and used there (`[access] auth = "upstream"`).

In: a name and password that a client gave.  Out: the Login with which that user's mail is sent. They are held
in the mail processes' memory and nowhere else: after a restart, mail of a user waits until the user logs in again.
"""

from typing import Protocol

from relay.envelope import Login
from relay.reply import Reply, refused

WAITS = Reply(0, "", "authentication: the password is not known after a restart; waiting for the user to log in again")


class Judge(Protocol):
    """Upstreams."""

    async def try_login(self, login: Login, reverse_path: str = "") -> Reply: ...


class Logins:
    """By user name, the credentials that were good when they were last tried."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._known: dict[str, Login] = {}

    async def log_in(self, name: str, password: str) -> bool:
        """True if they are good and were not known yet. Raises Refused: 535, or 454 where nobody can say."""
        login = Login(name, password)
        # Where upstreams differ by sender, the user's own address says which one knows the user.
        reply = await self._judge.try_login(login, name if "@" in name else "")
        if reply.is_permanent:
            raise refused(535, "5.7.8", "authentication failed: the upstream refuses these credentials")
        if not reply.accepts:
            raise refused(454, "4.7.0", "the upstream cannot check credentials now; please try again later")
        is_new = self._known.get(name) != login
        self._known[name] = login
        return is_new

    def of(self, name: str) -> Login | None:
        """The user's credentials, if the user has logged in since the start."""
        return self._known.get(name)

    def known(self) -> list[Login]:
        """All of them."""
        return list(self._known.values())

    def learn(self, login: Login) -> None:
        """Another process has seen that they are good."""
        self._known[login.username] = login

    def forget(self, login: Login) -> None:
        """The upstream refuses them now. Nothing happens if the user has given others meanwhile."""
        if self._known.get(login.username) == login:
            del self._known[login.username]
