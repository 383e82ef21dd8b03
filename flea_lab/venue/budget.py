"""How much may be asked of a venue in a minute, as a policy. Pure."""

from collections import deque


class Budget:
    """At most `per_minute` weight in any 60 s. All times are seconds of one monotonic clock."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._spent: deque[tuple[float, int]] = deque()

    def wait_s(self, now_s: float, weight: int) -> float:
        """Seconds until `weight` may be spent; 0 where it may be now. One that is larger than a minute's waits for
        an empty minute.

        >>> budget = Budget(100)
        >>> budget.spend(0.0, 90)
        >>> budget.wait_s(10.0, 10), budget.wait_s(10.0, 11)
        (0.0, 50.0)
        """
        while self._spent and self._spent[0][0] <= now_s - 60.0:
            self._spent.popleft()
        over = sum(spent for _, spent in self._spent) + weight - self._per_minute
        wait = 0.0
        for at, spent in self._spent:
            if over <= 0:
                break
            over -= spent
            wait = at + 60.0 - now_s
        return wait

    def spend(self, now_s: float, weight: int) -> None:
        """Takes note of a question of `weight`."""
        self._spent.append((now_s, weight))
