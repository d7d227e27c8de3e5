"""What accounts of the console may do.

A viewer reads. An operator may also act on mail, suppressions and pixels, and have webhooks send again. An admin may
also change accounts, API keys and webhooks, and end the sessions of others. Which route needs which role is in
`web/console/permissions.py`.
"""

from enum import StrEnum


class AccountRole(StrEnum):
    """A role; each may do what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    @property
    def with_article(self) -> str:
        """`a viewer`, `an admin`."""
        return f"{'a' if self is AccountRole.VIEWER else 'an'} {self}"

    def includes(self, role: "AccountRole") -> bool:
        """True if this role may do what the needed one may."""
        order = list(AccountRole)
        return order.index(self) >= order.index(role)
