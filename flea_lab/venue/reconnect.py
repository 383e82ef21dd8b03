"""When to connect again, as a policy: exponential back-off with full jitter, and a budget a minute. Pure."""

from collections import deque


def full_jitter_s(attempt: int, first_s: float, last_s: float, jitter: float) -> float:
    """Seconds to wait after failed `attempt` (1, 2, ...), `jitter` in [0, 1) of the doubled and capped first wait.

    Full jitter as in Brooker, "Exponential Backoff and Jitter" (2015).

    >>> full_jitter_s(3, 0.25, 30.0, 0.5)
    0.5
    """
    return jitter * min(last_s, first_s * 2.0 ** min(attempt - 1, 60))


class Reconnect:
    """Waits between the connects of one link. All times are seconds of one monotonic clock.

    Only a connection on which data flowed for `steady_s` resets the back-off: a venue that accepts and closes is as
    absent as one that refuses.
    """

    def __init__(self, first_s: float, last_s: float, per_minute: int, steady_s: float) -> None:
        self._first_s, self._last_s, self._steady_s = first_s, last_s, steady_s
        self._connects: deque[float] = deque(maxlen=per_minute)
        self._failed = 0

    def wait_s(self, now_s: float, jitter: float) -> float:
        """Seconds from now to the next connect; 0 for the first."""
        wait = full_jitter_s(self._failed, self._first_s, self._last_s, jitter) if self._failed else 0.0
        if len(self._connects) == self._connects.maxlen:
            wait = max(wait, self._connects[0] + 60.0 - now_s)
        return wait

    def connecting(self, now_s: float) -> None:
        """Counts a connect."""
        self._connects.append(now_s)

    def ended(self, flowed_s: float) -> None:
        """Takes note that a connection ended on which data had flowed for `flowed_s`."""
        self._failed = 1 if flowed_s >= self._steady_s and flowed_s > 0.0 else self._failed + 1
