"""A recorded market playing to its accounts, without socket or clock: scenes in order, frames out.

Rules. A bar that opens at O and closes at T is played as: funding that settles before its opens and what the opens
fill; in depth the books, prints and forming candles inside it, each with what it fills; then its complete candles in
the order of the symbols, then the longer candles that end with it, then time itself. Nothing is told before its scene
was played. Every channel and symbol counts its pushes, heard or not.
"""

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import NamedTuple

import msgspec
import numpy as np

from flea_lab.errors import ConfigError
from flea_lab.model.market import INTERVAL_MS, MS_NS, BookSnapshot, Candle, Funding, Trade
from flea_lab.money import USD, check_headroom, rate_e8
from flea_lab.sandbox.api import Frame, Json, bar_json, book_json, candle_json, event_frame, funding_json, trade_json
from flea_lab.sandbox.book import BookMatching
from flea_lab.sandbox.depth import DepthSettings, Inside, synthesise
from flea_lab.sandbox.exchange import SandboxExchange
from flea_lab.sandbox.matching import DepthMatching, OpenMatching
from flea_lab.sandbox.order import Denied, Order, OrderRequest
from flea_lab.sandbox.play import Playlist, Series, Step, candle_of, played_range, series, shifted, steps
from flea_lab.sandbox.recorded import RecordedBars, Recording
from flea_lab.sandbox.settings import SandboxSettings

DEPTH = ("orderbook_l2", "trades")
PRIVATE = ("orders", "fills")


class Scene(NamedTuple):
    """Something that happens at `ts_ms` when `play` is called, and not before. `ends_bar`: a heartbeat follows."""

    ts_ms: int
    play: Callable[[], None]
    ends_bar: bool


class Stage:
    """The market at one instant and the accounts that trade on it. `settings` must state every cost (`with_costs`).

    With clock "wall" the market is shifted so that the first bar played is the one that is forming at `now_ms`.
    `wanted` are the channels that somebody listens to: what nobody wants is counted and not drawn. With a `recording`
    (events of the same market in their order) its books and prints are played where books would be made up.
    """

    def __init__(
        self, playlist: Playlist, settings: SandboxSettings, now_ms: int = 0, recording: Recording | None = None
    ) -> None:
        self.start, self.stop = played_range(playlist, settings.start_ms, settings.days)
        self._recorded = None if recording is None else RecordedBars(recording, playlist.interval_ms)
        recorded_ms = int(playlist.open_ms[0])
        if settings.clock == "wall":
            venue_ms = now_ms + round(settings.clock_skew_s * 1000)
            playlist = shifted(playlist, venue_ms - int(playlist.open_ms[self.start]))
        self.playlist, self.settings = playlist, settings
        self._later_ns = (int(playlist.open_ms[0]) - recorded_ms) * MS_NS
        first = int(playlist.open_ms[self.start])
        self.now_ms = int(playlist.open_ms[self.start - 1]) + playlist.interval_ms if self.start else first
        self.over = False
        self.wanted: set[str] = set()
        self.channels = (*(f"candle_{name}" for name in playlist.intervals), *DEPTH, "funding", *PRIVATE)
        self.exchange = SandboxExchange(
            playlist.symbols, playlist.instruments, build_matching(playlist, settings), settings.leverage
        )
        self._series = cache(partial(series, playlist))
        self._settled = int(np.searchsorted(playlist.fund_at, self.start))
        self._seq: dict[tuple[str, str], int] = {}
        self._frames: list[Frame] = []
        self._closes = dict.fromkeys(playlist.symbols, float("nan"))
        for row, symbol in enumerate(playlist.symbols):
            known = np.flatnonzero(playlist.close_ticks[row, : self.start])
            if len(known):
                self._closes[symbol] = float(playlist.bars[row, known[-1], 3])
                self.exchange.mark(symbol, int(playlist.close_ticks[row, known[-1]]))
            check_headroom(settings.faucet_usd, playlist.grids[row].unit_den, f"faucet_usd with {symbol}")

    def scenes(self) -> Iterator[Scene]:
        """Everything that is played, in order. A scene is played before the next one is asked for."""
        for step in steps(self.playlist, self.start, self.stop):
            yield Scene(step.open_ms, partial(self._open, step), False)
            for ts_ms, what in self._inside(step):
                yield Scene(ts_ms, partial(self._form, ts_ms, what), False)
            yield Scene(step.close_ms, partial(self._close, step), True)

    def frames(self) -> list[Frame]:
        """What happened since the last call."""
        frames, self._frames = self._frames, []
        return frames

    def claim(self, account_id: str, amount_usd: float) -> int | Denied:
        """Opens an account; its credit in micro-dollars."""
        try:
            for symbol, grid in self.playlist.instruments.items():
                check_headroom(amount_usd, grid.unit_den, f"amount_usd with {symbol}")
        except ConfigError as error:
            return Denied(400, "invalid_amount", str(error))
        credit = round(amount_usd * USD)
        self.exchange.open_account(account_id, credit)
        return credit

    def submit(self, account_id: str, request: OrderRequest, now_ms: int) -> tuple[Order, bool] | Denied:
        """See `SandboxExchange.submit`."""
        answer = self.exchange.submit(account_id, request, now_ms * MS_NS)
        self._hear()
        return answer

    def cancel(self, account_id: str, client_order_id: str, now_ms: int) -> Order | Denied:
        """See `SandboxExchange.cancel`."""
        answer = self.exchange.cancel(account_id, client_order_id, now_ms * MS_NS)
        if isinstance(answer, Order) and self.over:
            self._let_pass(now_ms)
            answer = self.exchange.customers[account_id].orders[client_order_id]
        self._hear()
        return answer

    def cancel_all(self, account_id: str, now_ms: int) -> list[str]:
        """See `SandboxExchange.cancel_all`."""
        gone = self.exchange.cancel_all(account_id, now_ms * MS_NS)
        if self.over:
            self._let_pass(now_ms)
        self._hear()
        return gone

    def _let_pass(self, now_ms: int) -> None:
        """The latency goes by: once the market is over no time does, and a cancel would never arrive."""
        self.exchange.advance((now_ms + self.settings.latency_ms) * MS_NS)

    def candles(self, symbol: str, interval: str, limit: int, start_ms: int | None) -> list[Json]:
        """Closed candles, oldest first: the last `limit`, or the first that close after `start_ms`."""
        known: Series = self._series(symbol, interval)
        found = known.last(self.now_ms, limit) if start_ms is None else known.since(start_ms, self.now_ms, limit)
        return [bar_json(open_ms, row) for open_ms, row in found.rows()]

    def funding(self, symbol: str, limit: int, start_ms: int | None) -> list[Json]:
        """Settled rates, oldest first: the last `limit`, or the first that settled after `start_ms`."""
        tape, known = self.playlist, slice(0, self._settled)
        mine = tape.fund_row[known] == tape.symbols.index(symbol)
        ms, rates = tape.fund_ms[known][mine], tape.fund_rate[known][mine]
        if start_ms is not None:
            later = ms > start_ms
            ms, rates = ms[later][:limit], rates[later][:limit]
        rows = zip(ms[-limit:].tolist(), rates[-limit:].tolist(), strict=True)
        return [{"t": t, "rate": rate} for t, rate in rows]

    def _open(self, step: Step) -> None:
        for funding in step.settled:
            self.exchange.fund(funding.symbol, funding.rate)
            self._settle(funding)
        self._settled += len(step.settled)
        self.now_ms = max(self.now_ms, step.open_ms)
        for symbol, ticks in step.opens:
            self.exchange.open(symbol, ticks, step.open_ms * MS_NS)
        self._hear()

    def _inside(self, step: Step) -> list[tuple[int, Inside]]:
        """What is heard while the bar forms, in order of time, symbols in the config's order."""
        if self.settings.matching == "next_open":
            return []
        if self._recorded is not None:
            told = self._recorded.inside(step.close_ms * MS_NS - self._later_ns)
            return [(one.ts_event // MS_NS, one) for one in map(self._moved, told)]
        depth = DepthSettings(steps=self.settings.steps, levels=self.settings.levels, seed=self.settings.seed)
        grids, length = self.playlist.instruments, self.playlist.interval_ms
        heard = [
            (what.ts_recv // MS_NS, what)
            for candle in step.candles
            for what in synthesise(candle, self._closes[candle.symbol], grids[candle.symbol], depth, step.bar, length)
        ]
        return sorted(heard, key=lambda at: at[0])

    def _moved(self, what: BookSnapshot | Trade) -> BookSnapshot | Trade:
        """`what` was recorded, as it is played."""
        ts = what.ts_event + self._later_ns
        return msgspec.structs.replace(what, ts_event=ts, ts_recv=ts)

    def _form(self, ts_ms: int, what: Inside) -> None:
        """One thing inside a bar."""
        self.now_ms = ts_ms
        if isinstance(what, Candle):
            self._push(f"candle_{self.playlist.interval}", what.symbol, ts_ms, partial(self._drawn, what))
            return
        if isinstance(what, BookSnapshot):
            self._push("orderbook_l2", what.symbol, ts_ms, partial(book_json, what))
        else:
            self._push("trades", what.symbol, ts_ms, partial(trade_json, what))
        self.exchange.depth(what)
        self._hear()

    def _close(self, step: Step) -> None:
        self.exchange.advance(step.close_ms * MS_NS)
        self._hear()
        self.now_ms = step.close_ms
        for symbol, ticks in step.marks:
            self.exchange.mark(symbol, ticks)
        for candle in step.candles:
            self._closes[candle.symbol] = candle.close
            self._push(f"candle_{self.playlist.interval}", candle.symbol, step.close_ms, partial(self._drawn, candle))
        for interval in self.playlist.intervals[1:]:
            if step.close_ms % INTERVAL_MS[interval] == 0:
                self._longer(interval, step.close_ms)
        self.over = step.bar == self.stop - 1

    def _longer(self, interval: str, close_ms: int) -> None:
        for symbol in self.playlist.symbols:
            ending: Series = self._series(symbol, interval).closing(close_ms)
            for _, row in ending.rows():
                draw = partial(candle_json, candle_of(symbol, close_ms, row), INTERVAL_MS[interval])
                self._push(f"candle_{interval}", symbol, close_ms, draw)

    def _settle(self, funding: Funding) -> None:
        hours = self.playlist.instruments[funding.symbol].funding_interval_h
        draw = partial(funding_json, funding, self._closes[funding.symbol], hours)
        self._push("funding", funding.symbol, funding.ts_event // MS_NS, draw)

    def _drawn(self, candle: Candle) -> Json:
        return candle_json(candle, self.playlist.interval_ms)

    def _push(self, channel: str, symbol: str, ts_ms: int, draw: Callable[[], Json]) -> None:
        seq = self._seq[channel, symbol] = self._seq.get((channel, symbol), 0) + 1
        if channel in self.wanted:
            self._frames.append(Frame(channel, symbol, seq, ts_ms, draw()))

    def _hear(self) -> None:
        for event in self.exchange.news():
            if not self.wanted.isdisjoint(PRIVATE):
                self._frames.append(event_frame(event, self.playlist.instruments))


def build_matching(playlist: Playlist, settings: SandboxSettings) -> OpenMatching | DepthMatching:
    """The matching that `settings` asks for; every cost must be stated there."""
    maker, taker, slippage = settings.maker_fee_bps, settings.taker_fee_bps, settings.slippage_bps
    if maker is None or taker is None or slippage is None:
        raise ValueError("maker_fee_bps, taker_fee_bps and slippage_bps must be stated: use with_costs")
    if settings.matching == "next_open":
        return OpenMatching(playlist.instruments, rate_e8(taker), rate_e8(slippage))
    latency_ns = settings.latency_ms * MS_NS
    return BookMatching(playlist.instruments, rate_e8(maker), rate_e8(taker), latency_ns, settings.queue_ahead)
