"""How old what we know is, by the venue's own times, at the moment of use."""

from collections.abc import Mapping

from flea_lab.model.finding import Channel, Finding

SECOND_NS = 1_000_000_000

STALE_AFTER_S: dict[Channel, float] = {"book": 5.0, "trades": 60.0, "candles": 65.0, "funding": 120.0}
"""The age beyond which a channel is stale, where the venue's cadence is not known.

A candle's time is its close, so that a minute bar is up to a minute old before the next is due.
"""

CADENCE_S: dict[str, dict[Channel, float]] = {
    "hyperliquid": {"book": 6.5},
    "binance_um": {"book": 2.0},
    "binance_cm": {"book": 5.0},
    "binance_spot": {"book": 2.0},
}
"""By venue where it is known: Hyperliquid pushes a book about every 5.4 s at its slowest, Binance every 100 ms."""

FUTURE_S = 2.0
"""A time that is further ahead of the venue's clock than this is no time of now: as bad as an old one."""


def stale_after_s(venue: str) -> dict[Channel, float]:
    """The limits for `venue`, every channel."""
    return STALE_AFTER_S | CADENCE_S.get(venue, {})


class Freshness:
    """The latest venue time of every channel and symbol, and whether it is recent enough.

    One channel does not refresh another, and a message that waited in our queue is as old as its own time says.
    """

    def __init__(self, limits_s: Mapping[Channel, float], venue: str = "") -> None:
        """Nothing heard: everything is stale. `limits_s` by channel; one without a limit is always stale."""
        self.venue = venue
        self._limits = dict(limits_s)
        self.heard: dict[tuple[Channel, str], int] = {}

    def hear(self, channel: Channel, symbol: str, ts_event: int) -> None:
        """Notes a message's venue time, also where it is earlier than the one before."""
        self.heard[channel, symbol] = ts_event

    def age_s(self, channel: Channel, symbol: str, now_ns: int) -> float | None:
        """Seconds from the latest message to `now_ns`, the venue's time; None before any."""
        heard = self.heard.get((channel, symbol))
        return None if heard is None else (now_ns - heard) / SECOND_NS

    def stale(self, channel: Channel, symbol: str, now_ns: int) -> Finding | None:
        """What makes the channel unfit for use at `now_ns`, the venue's time; None where it is fresh."""
        age = self.age_s(channel, symbol, now_ns)
        limit = self._limits.get(channel)
        if age is not None and limit is not None and -FUTURE_S <= age <= limit:
            return None
        if age is None:
            detail = "nothing heard yet"
        elif limit is None:
            detail = f"no limit is known for {channel}"
        else:
            detail = f"{age:.3f} s old, at most {limit} s" if age > 0 else f"{-age:.3f} s ahead of the venue's clock"
        heard = self.heard.get((channel, symbol), now_ns)
        return Finding(kind="stale", channel=channel, symbol=symbol, ts_from=heard, detail=detail, venue=self.venue)
