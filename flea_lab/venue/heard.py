"""How recent what was heard is, by the venue's own times, and how far the venue's clock is from ours. Pure."""

from collections import deque
from statistics import median_low

from flea_lab.venue.speech import Kind

WINDOW = 101
"""Messages over which a clock is judged."""

FAR_NS = 86_400_000_000_000
"""Clocks a day apart are not to be compared: the venue's is that of a recorded market."""

BAND = 2.0
"""A price twice, or half, the one before is not believed at once."""

INSIST = 5
"""Prices in a row that agree with each other and not with the one before: that one was wrong, or the market moved."""


class Heard:
    """The latest venue time of every channel and symbol. One channel never refreshes another."""

    def __init__(self) -> None:
        self.latest: dict[tuple[str, str], int] = {}

    def note(self, kind: str, symbol: str, ts_event: int) -> None:
        """Takes note of a message that the venue stamped `ts_event`; one that goes back changes nothing."""
        key = kind, symbol
        if ts_event > self.latest.get(key, 0):
            self.latest[key] = ts_event

    def age_s(self, kind: Kind, symbol: str, now_ns: int) -> float | None:
        """Seconds from the latest message to `now_ns` of the venue's time; None before the first.

        >>> heard = Heard()
        >>> heard.note("book", "X", 1_000_000_000)
        >>> heard.age_s("book", "X", 3_500_000_000), heard.age_s("trades", "X", 3_500_000_000)
        (2.5, None)
        """
        latest = self.latest.get((kind, symbol))
        return None if latest is None else (now_ns - latest) / 1e9

    def latest_ns(self) -> int:
        """The latest venue time of all."""
        return max(self.latest.values(), default=0)


class Skew:
    """How far our clock is ahead of the venue's, the way of the messages included: the median of the last `WINDOW`."""

    def __init__(self, limit_s: float) -> None:
        self._limit_ns = round(limit_s * 1e9)
        self.apart: deque[int] = deque(maxlen=WINDOW)
        self._off = False

    def note(self, ts_event: int, ts_recv: int) -> None:
        """Takes note of a message that the venue stamped as it sent it."""
        self.apart.append(ts_recv - ts_event)

    def ahead_ns(self) -> int | None:
        """By how much our clock is ahead; None before enough was heard, and where the two are not comparable."""
        if len(self.apart) < WINDOW // 4:
            return None
        found = median_low(self.apart)
        return found if abs(found) < FAR_NS else None

    def complaint(self) -> str:
        """One line when the clocks have come further apart than the limit, once; "" else."""
        found = self.ahead_ns()
        off = found is not None and not abs(found) <= self._limit_ns
        was, self._off = self._off, off
        if found is None or not off or was:
            return ""
        limit_s = self._limit_ns / 1e9
        return f"the venue's clock is {-found / 1e9:+.1f} s off this machine's, at most {limit_s:g} s may be"


class Bands:
    """The last believed price of every symbol."""

    def __init__(self) -> None:
        self.price: dict[str, float] = {}
        self.doubts: dict[str, tuple[float, int]] = {}

    def believes(self, symbol: str, price: float) -> bool:
        """Whether `price` is near enough to the one before; after `INSIST` that agree, theirs is the one.

        >>> bands = Bands()
        >>> [bands.believes("X", price) for price in (100.0, 1_000.0, 101.0, 300.0, 300.0, 301.0, 302.0, 300.0)]
        [True, False, True, False, False, False, False, True]
        """
        last = self.price.get(symbol)
        if last is None or last / BAND < price < last * BAND:
            self.price[symbol] = price
            if self.doubts:
                self.doubts.pop(symbol, None)
            return True
        first, count = self.doubts.get(symbol, (price, 0))
        if not first / BAND < price < first * BAND:
            first, count = price, 0
        if count + 1 >= INSIST:
            self.price[symbol] = price
            del self.doubts[symbol]
            return True
        self.doubts[symbol] = first, count + 1
        return False
