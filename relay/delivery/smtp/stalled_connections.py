"""Connections on which nothing moves any more: found, and replaced without sending anything twice.

In: when each place for a connection was taken, and the wire that it holds.  Out: for how long all places together
have been mute. A place that is mute may be left to wait for its reply (RFC 5321 §4.5.3.2.6: ten minutes) while
another one takes over its share. So many may be left at a time, and no more.
"""

import asyncio

from relay.delivery.smtp.protocol import Wire


class Place:
    """A connection's place while it is in use. `is_replaced`: another one has been given out for it."""

    def __init__(self) -> None:
        self.taken_at_s = asyncio.get_running_loop().time()
        self.wire: Wire | None = None
        self.is_replaced = False

    def mute_s(self, now_s: float) -> float:
        """For how long nothing has come or gone."""
        return now_s - (self.wire.moved_at_s if self.wire else self.taken_at_s)


class Places:
    """The places of one upstream that are in use. Times are the event loop's."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: set[Place] = set()

    @property
    def replaced(self) -> int:
        """How many are left to wait beside those that count."""
        return sum(place.is_replaced for place in self._taken)

    def take(self) -> Place:
        place = Place()
        self._taken.add(place)
        return place

    def leave(self, place: Place) -> bool:
        """True if the place is free for the next one."""
        self._taken.discard(place)
        return not place.is_replaced

    def mute_s(self, now_s: float) -> float:
        """For how long all of them have been mute: as long as the one that moved last.

        Zero while all are still being opened, which has limits of its own: some servers greet after minutes.
        """
        counted = [place for place in self._taken if not place.is_replaced]
        if all(place.wire is None for place in counted):
            return 0.0
        return min(place.mute_s(now_s) for place in counted)

    def count_mute(self, now_s: float, after_s: float) -> int:
        """How many have been mute for so long."""
        return sum(place.mute_s(now_s) >= after_s for place in self._taken if not place.is_replaced)

    def replace(self, now_s: float, after_s: float, limit: int) -> int:
        """Marks up to `limit` mute places as replaced, the longest mute first. Returns how many."""
        mute = [place for place in self._taken if not place.is_replaced and place.mute_s(now_s) >= after_s]
        mute.sort(key=lambda place: place.mute_s(now_s), reverse=True)
        chosen = mute[: max(0, min(limit, 2 * self._most - self.replaced))]
        for place in chosen:
            place.is_replaced = True
        return len(chosen)
