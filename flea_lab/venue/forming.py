"""Bars of a venue that does not say when one is over: closed by the next one, or by the venue's own time. Pure.

Rules. A bar is over when a later one of its symbol has come, or when something that the venue stamped (or sent in
answer to a question of ours) at least `grace` after its end has been heard: our clock alone proves nothing, the
connection may hold back what changes the bar. Everything of one connection arrives in order, so that what was heard
then holds all before it. When a bar's time is over for every symbol it is told as a heartbeat; a symbol without a
print in it has no bar. A bar that was forming when the connection went down is not known any more.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from flea_lab.model.market import Candle, Funding, Heartbeat
from flea_lab.venue.reading import FrameError

FUTURE_NS = 5_000_000_000
"""How far clocks may differ before a stamp is one of times to come."""


class Forming:
    """The forming bars of one connection after the other, `step_ns` long."""

    def __init__(self, symbols: Sequence[str], step_ns: int, grace_ns: int) -> None:
        self._symbols, self._step_ns, self._grace_ns = tuple(symbols), step_ns, grace_ns
        self._bars: dict[str, Candle] = {}
        self._closed: dict[str, Candle] = {}
        self._funding: list[Funding] = []
        self._told_ns = 0
        self._split = False
        self.heard_ns = 0

    def begin(self, now_ns: int) -> None:
        """Forgets what was forming: a new connection begins at `now_ns` of the venue's time."""
        self._bars.clear()
        self.heard_ns = 0
        self._split = False
        self._told_ns = max(self._told_ns, now_ns // self._step_ns * self._step_ns)

    def hear(self, ts_event: int, now_ns: int) -> None:
        """Takes note that everything up to `ts_event` of the venue's time has been heard, at `now_ns` of it. A stamp of
        times to come proves nothing.
        """
        if ts_event <= now_ns + FUTURE_NS:
            self.heard_ns = max(self.heard_ns, ts_event)

    def settled(self, funding: Funding) -> None:
        """Keeps a settlement until no bar is told by halves."""
        self._funding.append(funding)

    def on(self, candle: Candle) -> tuple[Candle, ...]:
        """The bar as it stands, behind the one that it shows to be over. `FrameError` for one that changes a bar that
        is over; nothing for one that repeats it.
        """
        symbol, ts = candle.symbol, candle.ts_event
        closed, forming = self._closed.get(symbol), self._bars.get(symbol)
        if closed is not None and ts <= closed.ts_event:
            if ts == closed.ts_event and not _same(candle, closed):
                raise FrameError(f"the bar that closed at {ts // 1_000_000} changed after it was over")
            return ()
        if forming is None or ts == forming.ts_event:
            self._bars[symbol] = candle
            return (candle,)
        if ts < forming.ts_event:
            raise FrameError(f"a bar that closes at {ts // 1_000_000} came after a later one")
        over = self._close(symbol, forming, candle.ts_recv)
        self._bars[symbol] = candle
        return over, candle

    def seed(self, candle: Candle) -> tuple[Candle, ...]:
        """As `on`, for a bar that was asked for; nothing where the connection has told of it already."""
        known = self._bars.get(candle.symbol) or self._closed.get(candle.symbol)
        return () if known is not None and known.ts_event >= candle.ts_event else self.on(candle)

    def due(self, now_ns: int) -> bool:
        """Whether a bar has ended `grace` ago at `now_ns` and nothing heard says that all of it has come."""
        end = (now_ns - self._grace_ns) // self._step_ns * self._step_ns
        return self._told_ns > 0 and end > self._told_ns and self.heard_ns < end + self._grace_ns

    def over(self, ts_recv: int) -> tuple[Candle | Heartbeat | Funding, ...]:
        """What time alone says now: bars that are over, then the heartbeat, then settlements that waited."""
        found: list[Candle | Heartbeat | Funding] = []
        end = (self.heard_ns - self._grace_ns) // self._step_ns * self._step_ns
        if 0 < self._told_ns < end:
            for symbol in self._symbols:
                forming = self._bars.get(symbol)
                if forming is not None and forming.ts_event <= end:
                    found.append(self._close(symbol, forming, ts_recv))
            self._told_ns, self._split = end, False
            found.append(Heartbeat(ts_event=end))
        if self._funding and not self._split:
            found += self._funding
            self._funding.clear()
        return tuple(found)

    def _close(self, symbol: str, forming: Candle, ts_recv: int) -> Candle:
        over = replace(forming, complete=True, ts_recv=ts_recv)
        self._bars.pop(symbol, None)
        self._closed[symbol] = over
        self._split = self._split or over.ts_event > self._told_ns
        return over


def candle_fault(candle: Candle) -> str:
    """What is impossible in `candle`, or ""."""
    values = {"open": candle.open, "high": candle.high, "low": candle.low, "close": candle.close}
    for name, value in values.items():
        if not 0.0 < value < float("inf"):
            return f"{name} = {value}: must be a number above 0"
    if not 0.0 <= candle.volume < float("inf"):
        return f"volume = {candle.volume}: must be a number of at least 0"
    if not candle.low <= min(candle.open, candle.close) <= max(candle.open, candle.close) <= candle.high:
        spanned = f"open = {candle.open} and close = {candle.close}"
        return f"high = {candle.high}, low = {candle.low}: do not span {spanned}"
    return ""


def _same(one: Candle, other: Candle) -> bool:
    return (one.open, one.high, one.low, one.close, one.volume) == (
        other.open,
        other.high,
        other.low,
        other.close,
        other.volume,
    )
