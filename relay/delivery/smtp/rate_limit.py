"""A rate, kept: so many mails a second, evenly, in the order in which they asked. Decides; does nothing."""


class Pace:
    """Gives out turns at even intervals; after a pause there is no burst, for upstreams count by the second."""

    def __init__(self, per_s: float) -> None:
        self._interval_s = 1 / per_s if per_s else 0.0  # 0: no limit
        self._next = 0.0

    def wait_s(self, now: float) -> float:
        """How long the next one to ask would wait. Seconds, of the same clock as `now`."""
        return max(0.0, self._next - now) if self._interval_s else 0.0

    def take(self, now: float) -> float:
        """Takes the next turn; returns how long to wait for it, in seconds."""
        wait_s = self.wait_s(now)
        self._next = now + wait_s + self._interval_s
        return wait_s
