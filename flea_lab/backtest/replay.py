"""The core over recorded events, with the simulated exchange of the config's fill rule.

At one instant things happen in this order: the candles that close are decided on; then funding that settles; then
orders fill at the open. The core cannot tell this driver from the live one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from flea_lab.backtest.market import Market
from flea_lab.core import Event, TradingCore
from flea_lab.decision import Decisions, Recorder
from flea_lab.ledger import LOTS, held_uusd
from flea_lab.model.market import MS_NS, Candle, Funding, Heartbeat
from flea_lab.model.trading import Command, Fill
from flea_lab.risk.checks import DAILY_LATCH, DAY_OPEN, DRAWDOWN_LATCH, PEAK
from flea_lab.sandbox.matching import NextOpenMatching
from flea_lab.signal.kernel import Floats

Ints = npt.NDArray[np.int64]
OPEN, CANDLE, FUNDING, BEAT = range(4)


@dataclass
class Replayed:
    """What a replay saw. Curves `(n,)` in micro-dollars at every close; `lots` `(n_symbols, n)`; `convictions` and
    `toxicity` (VPIN) `(n_symbols, n)`; `opinions` `(n_symbols, n, n_alphas, 2)`; `gate` `(n, 3)` the day's base, the
    peak and the latches (1 daily, 2 drawdown)."""

    decisions: Decisions
    fills: list[Fill]
    decision_ticks: list[int]
    funding: list[tuple[int, str, float, int]]
    equity: Ints
    cash: Ints
    gross: Ints
    lots: Ints
    convictions: Floats
    toxicity: Floats
    opinions: Floats
    gate: Ints
    commands: list[Command] = field(default_factory=list)


def events(market: Market) -> Iterator[tuple[int, int, str, Candle | Funding | Heartbeat | None, int]]:
    """The market as a sequence of `(kind, bar, symbol, event, open_ticks)`: funding, opens, candles, a heartbeat
    where a candle is missing; bar after bar, symbols in the config's order."""
    open_ns, close_ns = (market.open_ms * MS_NS).tolist(), market.close_ns.tolist()
    rows = [bars.tolist() for bars in market.bars]
    opens = market.open_ticks.tolist()
    present = (market.close_ticks > 0).tolist()
    at, who = market.fund_at.tolist(), market.fund_row.tolist()
    rates, fund_ms = market.fund_rate.tolist(), market.fund_ms.tolist()
    symbols, k = list(enumerate(market.symbols)), 0
    for i in range(market.n):
        while k < len(at) and at[k] == i:
            symbol, ts = market.symbols[who[k]], fund_ms[k] * MS_NS
            yield FUNDING, i, symbol, Funding(symbol=symbol, ts_event=ts, ts_recv=ts, rate=rates[k]), 0
            k += 1
        here = [(s, symbol) for s, symbol in symbols if present[s][i]]
        for s, symbol in here:
            yield OPEN, i, symbol, None, opens[s][i]
        ts = close_ns[i]
        for s, symbol in here:
            o, h, low, c, v, buy, _ = rows[s][i]
            candle = Candle(
                symbol=symbol, ts_event=ts, ts_recv=ts, open=o, high=h, low=low, close=c, volume=v, buy_volume=buy
            )
            yield CANDLE, i, symbol, candle, open_ns[i]
        if len(here) < len(symbols):
            yield BEAT, i, "", Heartbeat(ts_event=ts), 0


def replay(
    market: Market,
    core: TradingCore,
    exchange: NextOpenMatching,
    *,
    progress: bool = False,
    watch: Callable[[int, TradingCore], None] | None = None,
) -> Replayed:
    """Plays `market` through `core`; `watch` is called after every closed bar with its position."""
    driver = _Driver(market, core, exchange)
    bar = tqdm(total=market.n, desc="replay", unit="bar", disable=not progress, leave=False)
    last = -1
    for kind, i, symbol, event, ticks in events(market):
        if i != last:
            if last >= 0:
                driver.note(last)
                if watch is not None:
                    watch(last, core)
            last = i
            bar.update()
        if kind == OPEN:
            driver.open(symbol, ticks, i)
        else:
            driver.feed(event, kind)
    if last >= 0:
        driver.note(last)
        if watch is not None:
            watch(last, core)
    bar.close()
    return driver.seen()


class _Driver:
    """Carries events to the core and commands to the exchange, and writes down what happened."""

    def __init__(self, market: Market, core: TradingCore, exchange: NextOpenMatching) -> None:
        self.core, self.exchange = core, exchange
        self.recorder = Recorder(market.symbols)
        self.open_ns = (market.open_ms * MS_NS).tolist()
        shape = (len(market.symbols), market.n)
        self.equity, self.cash, self.gross = (np.zeros(market.n, np.int64) for _ in range(3))
        self.lots = np.zeros(shape, np.int64)
        self.convictions, self.toxicity = np.full(shape, np.nan), np.full(shape, np.nan)
        n_alphas = core.desk.opinions(market.symbols[0]).shape[0]
        self.opinions = np.full((*shape, n_alphas, 2), np.nan)
        self.gate = np.zeros((market.n, 3), np.int64)
        self.fills: list[Fill] = []
        self.decided: list[int] = []
        self.funding: list[tuple[int, str, float, int]] = []
        self.commands: list[Command] = []

    def feed(self, event: Event, kind: int) -> None:
        """One event in; what the core commands goes to the exchange, whose answers go back in."""
        if kind == FUNDING:
            before = self.core.ledger.cash_uusd
        self._carry(self.core.on(event), event.ts_event)
        if kind == FUNDING and self.core.ledger.cash_uusd != before:
            paid = before - self.core.ledger.cash_uusd
            self.funding.append((event.ts_event // MS_NS, event.symbol, event.rate, paid))  # type: ignore[union-attr]

    def open(self, symbol: str, ticks: int, i: int) -> None:
        """The symbol's bar opens: what rests fills."""
        for fill in self.exchange.open(symbol, ticks, self.open_ns[i]):
            self.fills.append(fill)
            self.decided.append(self.core.router.blotter.get(fill.client_order_id).command.price_ticks)
            self._carry(self.core.on(fill), fill.ts_event)

    def note(self, i: int) -> None:
        """Writes down the account and the signals after bar `i`."""
        core, ledger = self.core, self.core.ledger
        self.equity[i], self.cash[i], self.gross[i] = ledger.equity_uusd(), ledger.cash_uusd, held_uusd(ledger.book)
        self.lots[:, i] = ledger.book[:, LOTS]
        gate = core.gate.state
        self.gate[i] = gate[DAY_OPEN], gate[PEAK], gate[DAILY_LATCH] + 2 * gate[DRAWDOWN_LATCH]
        for s, symbol in enumerate(core.symbols):
            self.convictions[s, i], self.toxicity[s, i] = core.convictions[symbol], core.toxicity[symbol]
            self.opinions[s, i] = core.desk.opinions(symbol)

    def seen(self) -> Replayed:
        """Everything written down."""
        return Replayed(
            self.recorder.decisions(),
            self.fills,
            self.decided,
            self.funding,
            self.equity,
            self.cash,
            self.gross,
            self.lots,
            self.convictions,
            self.toxicity,
            self.opinions,
            self.gate,
            self.commands,
        )

    def _carry(self, commands: tuple[Command, ...], ts_event: int) -> None:
        if not commands:
            return
        self.recorder.on(commands)
        self.commands.extend(commands)
        for command in commands:
            for report in self.exchange.on(command, ts_event):
                self._carry(self.core.on(report), report.ts_event)
