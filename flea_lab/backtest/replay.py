"""The core over recorded events, with the simulated exchange of the config's fill rule.

At one instant things happen in this order: the candles that close are decided on; then funding that settles; then
orders fill at the open. The core cannot tell this driver from the live one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, repeat
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from flea_lab.backtest.market import Market
from flea_lab.compiled import compiled, direct
from flea_lab.core import Event, TradingCore
from flea_lab.decision import Decisions, Recorder
from flea_lab.journal import Journal
from flea_lab.ledger import LOTS, Book, equity_uusd, held_uusd
from flea_lab.model.market import MS_NS, Candle, Features, Funding, Heartbeat
from flea_lab.model.trading import Command, Control, Fill, Refused
from flea_lab.risk.checks import DAILY_LATCH, DAY_OPEN, DRAWDOWN_LATCH, PEAK, GateState
from flea_lab.sandbox.matching import NextOpenMatching
from flea_lab.signal.kernel import FEATURES, Floats

T = TypeVar("T")
Ints = npt.NDArray[np.int64]


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
    commands: list[Command]


class Controls(NamedTuple):
    """What the core is told at a bar by others than the market: before its opens fill, and after."""

    before: list[Control]
    after: list[Control]


class Played(NamedTuple):
    """One bar of the account: settlements before it, opens in ticks, features, candles, whether a symbol has none."""

    bar: int
    settled: Sequence[Funding]
    opens: tuple[tuple[str, int], ...]
    features: tuple[Features, ...]
    candles: tuple[Candle, ...]
    hole: bool


AT_ONCE = 512
"""Bars whose numbers are Python's at one time."""


def bars(market: Market) -> Iterator[Played]:
    """The market bar after bar; symbols in the config's order."""
    for first in range(0, market.n, AT_ONCE):
        yield from _some_bars(market, slice(first, first + AT_ONCE))


def _some_bars(market: Market, part: slice) -> Iterator[Played]:
    """The bars of `part`: few enough at once to stay near the processor, and out of the garbage collector's way."""
    symbols, times = market.symbols, ((market.open_ms[part] + market.interval_ms) * MS_NS).tolist()
    present, settled = (market.close_ticks[:, part] > 0).T.tolist(), _settled(market, part)
    ticks = market.open_ticks[:, part].tolist()
    opens = zip(*[zip(repeat(symbol), column) for symbol, column in zip(symbols, ticks, strict=True)], strict=True)
    candles = zip(*[_candles(market, s, part, times) for s in range(len(symbols))], strict=True)
    offers = market.features.shape[1] == market.n
    features = zip(*[_features(market, s, part, times) for s in range(len(symbols))], strict=True) if offers else None
    bars_of = zip(present, opens, features or repeat(()), candles, strict=False)
    for i, (here, opened, offered, closed) in enumerate(bars_of, part.start):
        hole = not all(here)
        if hole:
            opened, offered, closed = _there(opened, here), _there(offered, here), _there(closed, here)
        yield Played(i, settled.get(i, ()), opened, offered, closed, hole)


def _there(each: Iterable[T], here: list[bool]) -> tuple[T, ...]:
    """What belongs to symbols that have a bar."""
    return tuple(compress(each, here))


def _candles(market: Market, s: int, part: slice, times: list[int]) -> list[Candle]:
    """A candle a bar of row `s`."""
    symbol, columns = market.symbols[s], market.bars[s, part, :6].T.tolist()
    return [
        Candle(
            symbol=symbol,
            ts_event=ts,
            ts_recv=ts,
            open=open_,
            high=high,
            low=low,
            close=close,
            volume=volume,
            buy_volume=bought,
        )
        for ts, open_, high, low, close, volume, bought in zip(times, *columns, strict=True)
    ]


def _features(market: Market, s: int, part: slice, times: list[int]) -> list[Features]:
    """The features of every bar of row `s`."""
    symbol, rows = market.symbols[s], market.features[s, part].tolist()
    return [
        Features(symbol=symbol, ts_event=ts, ts_recv=ts, **dict(zip(FEATURES, row, strict=True)))
        for ts, row in zip(times, rows, strict=True)
    ]


def _settled(market: Market, part: slice) -> dict[int, list[Funding]]:
    """The settlements that are due before each bar of `part`, in their order."""
    first, stop = np.searchsorted(market.fund_at, (part.start, part.stop)).tolist()
    due = slice(first, stop)
    found: dict[int, list[Funding]] = {}
    for at, row, rate, ms in zip(
        market.fund_at[due].tolist(),
        market.fund_row[due].tolist(),
        market.fund_rate[due].tolist(),
        market.fund_ms[due].tolist(),
        strict=True,
    ):
        when = ms * MS_NS
        told = Funding(symbol=market.symbols[row], ts_event=when, ts_recv=when, rate=rate)
        found.setdefault(at, []).append(told)
    return found


def replay(
    market: Market,
    core: TradingCore,
    exchange: NextOpenMatching,
    *,
    journal: Journal | None = None,
    controls: Mapping[int, Controls] | None = None,
    heard: Callable[[Played], Iterable[Event]] | None = None,
    progress: bool = False,
) -> Replayed:
    """Plays `market` through `core`; a heartbeat stands for the candles that a bar does not have. `controls` by bar.

    `heard` is asked after the opens of a bar for all that was heard in it, its candles included, in the order of
    arrival; without it the bar's features and candles are told.
    """
    driver = _Driver(market, core, exchange, journal)
    feed, close_ns = driver.feed, market.close_ns.tolist()
    played_bars = bars(market)
    for played in tqdm(played_bars, "replay", market.n, unit="bar", leave=False) if progress else played_bars:
        for settlement in played.settled:
            feed(settlement)
        told = controls.get(played.bar) if controls else None
        for control in told.before if told else ():
            feed(control)
        if exchange.resting:
            driver.open(played)
        for control in told.after if told else ():
            feed(control)
        for event in played.features if heard is None else heard(played):
            feed(event)
        if heard is None:
            for candle in played.candles:
                feed(candle)
        if played.hole:
            feed(Heartbeat(ts_event=close_ns[played.bar]))
        driver.note(played.bar)
    return driver.seen()


N_CURVES = 6


@compiled
def note_bar(book: Book, gate: GateState, cash: int, told: Floats, i: int, curves: Ints, said: Floats) -> None:
    """Writes bar `i`: equity, cash, gross, day's base, peak, latches and positions to `curves`, `told` to `said`."""
    curves[i, 0] = equity_uusd(book, cash)
    curves[i, 1] = cash
    curves[i, 2] = held_uusd(book)
    curves[i, 3] = gate[DAY_OPEN]
    curves[i, 4] = gate[PEAK]
    curves[i, 5] = gate[DAILY_LATCH] + 2 * gate[DRAWDOWN_LATCH]
    for s in range(book.shape[0]):
        curves[i, N_CURVES + s] = book[s, LOTS]
    for k in range(told.shape[0]):
        said[i, k] = told[k]


class _Driver:
    """Carries events to the core and commands to the exchange, and writes down what happened."""

    def __init__(self, market: Market, core: TradingCore, exchange: NextOpenMatching, journal: Journal | None) -> None:
        self.core, self.exchange, self.journal, self._on = core, exchange, journal, core.on
        self.recorder = Recorder(market.symbols)
        self.open_ns = (market.open_ms * MS_NS).tolist()
        n, n_symbols = market.n, len(market.symbols)
        self.curves = np.zeros((n, N_CURVES + n_symbols), np.int64)
        self.said = np.zeros((n, len(core.desk.told)))
        self.toxicity = np.full((n, n_symbols), np.nan)
        account = core.ledger.book, core.gate.state, core.ledger.cash_uusd, core.desk.told
        self._note = direct(note_bar, *account, 0, self.curves, self.said)
        self.fills: list[Fill] = []
        self.decided: list[int] = []
        self.commands: list[Command] = []

    def feed(self, event: Event) -> None:
        """One event in; what the core commands goes to the exchange, whose answers go back in."""
        if self.journal is not None:
            self.journal.append(event)
        commands = self._on(event)
        if not commands:
            return
        self.recorder.on(commands)
        self.commands.extend(commands)
        for command in commands:
            if self.journal is not None:
                self.journal.append(command)
            for report in self.exchange.on(command, command_time(command)):
                self.feed(report)

    def open(self, played: Played) -> None:
        """The bar opens: what rests fills."""
        for symbol, ticks in played.opens:
            for fill in self.exchange.open(symbol, ticks, self.open_ns[played.bar]):
                self.fills.append(fill)
                self.decided.append(self.core.router.blotter.get(fill.client_order_id).command.decided_ticks)
                self.feed(fill)

    def note(self, i: int) -> None:
        """Writes down the account and the signals after bar `i`."""
        core, ledger = self.core, self.core.ledger
        self._note(ledger.book, core.gate.state, ledger.cash_uusd, core.desk.told, i, self.curves, self.said)
        if core.measured:
            self.toxicity[i] = core.toxicities

    def seen(self) -> Replayed:
        """Everything written down."""
        curves, said = np.ascontiguousarray(self.curves.T), np.ascontiguousarray(self.said.T)
        n_symbols, n = len(self.core.symbols), len(self.curves)
        opinions = self.said[:, n_symbols:].reshape(n, n_symbols, -1, 2)
        paid = [
            (funding.ts_event // MS_NS, funding.symbol, funding.rate, cost)
            for funding, cost in self.core.take_paid()
            if cost
        ]
        return Replayed(
            self.recorder.decisions(),
            self.fills,
            self.decided,
            paid,
            curves[0],
            curves[1],
            curves[2],
            curves[N_CURVES:],
            said[:n_symbols],
            np.ascontiguousarray(self.toxicity.T),
            np.ascontiguousarray(np.moveaxis(opinions, 1, 0)),
            self.curves[:, 3:N_CURVES],
            self.commands,
        )


def command_time(command: Command) -> int:
    """When a command was given, ns UTC."""
    return command.intent.ts_event if isinstance(command, Refused) else command.ts_event
