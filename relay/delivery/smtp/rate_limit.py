"""A rate limit: so many mails a second, at even intervals, in the order of the requests. Decides; does nothing."""


class RateLimiter:
    """Reserves turns at even intervals. After a pause there is no burst, because upstreams count by the second."""

    def __init__(self, per_s: float) -> None:
        self._interval_s = 1 / per_s if per_s else 0.0  # 0: no limit
        self._next_turn_s = 0.0

    def change(self, per_s: float) -> None:
        """From the next turn on another rate holds."""
        self._interval_s = 1 / per_s if per_s else 0.0

    @property
    def is_limited(self) -> bool:
        return self._interval_s > 0

    def wait_s(self, now_s: float) -> float:
        """How long the next request would wait. Seconds, of the same clock as `now_s`."""
        return max(0.0, self._next_turn_s - now_s) if self._interval_s else 0.0

    def reserve(self, now_s: float) -> float:
        """Reserves the next turn; returns how long to wait for it, in seconds."""
        wait_s = self.wait_s(now_s)
        self._next_turn_s = now_s + wait_s + self._interval_s
        return wait_s
