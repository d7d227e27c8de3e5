"""Find connections on which nothing moves, and replace them without sending anything twice.

In: when each slot was taken, and the connection that it holds.  Out: for how long all slots together have been silent.
A silent slot may go on waiting for its reply (RFC 5321 §4.5.3.2.6: ten minutes) while another slot replaces it. The
number of replaced slots is limited.
"""

import asyncio

from relay.delivery.smtp.protocol import SmtpClientProtocol


class Slot:
    """The slot of one connection while it is in use. `is_replaced`: another one was given out in its place."""

    def __init__(self) -> None:
        self.taken_at_s = asyncio.get_running_loop().time()
        self.client: SmtpClientProtocol | None = None
        self.is_replaced = False

    def silent_s(self, now_s: float) -> float:
        """For how long nothing was sent or received."""
        return now_s - (self.client.last_activity_s if self.client else self.taken_at_s)


class Slots:
    """The slots of one upstream that are in use. Times are the event loop's."""

    def __init__(self, max_connections: int) -> None:
        self._max_connections = max_connections
        self._in_use: set[Slot] = set()
        self.replaced_count = 0  # slots that are replaced and still in use

    def take(self) -> Slot:
        slot = Slot()
        self._in_use.add(slot)
        return slot

    def release(self, slot: Slot) -> bool:
        """True if the slot is free for the next connection."""
        self._in_use.discard(slot)
        self.replaced_count -= slot.is_replaced
        return not slot.is_replaced

    def silent_s(self, now_s: float) -> float:
        """For how long all of them have been silent: the shortest time of one.

        Zero while all are still being opened, which has limits of its own: some servers greet after minutes.
        """
        not_replaced = [slot for slot in self._in_use if not slot.is_replaced]
        if all(slot.client is None for slot in not_replaced):
            return 0.0
        return min(slot.silent_s(now_s) for slot in not_replaced)

    def count_silent(self, now_s: float, after_s: float) -> int:
        """How many have been silent for so long."""
        return sum(slot.silent_s(now_s) >= after_s for slot in self._in_use if not slot.is_replaced)

    def replace(self, now_s: float, after_s: float, limit: int) -> int:
        """Marks up to `limit` silent slots as replaced, the longest silent first. Returns how many."""
        silent = [slot for slot in self._in_use if not slot.is_replaced and slot.silent_s(now_s) >= after_s]
        silent.sort(key=lambda slot: slot.silent_s(now_s), reverse=True)
        chosen = silent[: max(0, min(limit, 2 * self._max_connections - self.replaced_count))]
        for slot in chosen:
            slot.is_replaced = True
        self.replaced_count += len(chosen)
        return len(chosen)
