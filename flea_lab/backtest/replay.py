"""The core over recorded events, with the simulated exchange of the config's fill rule.

At one instant things happen in this order: the candles that close are decided on; then funding that settles; then
orders fill at the open. The core cannot tell this driver from the live one.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from flea_lab.backtest.market import Market
from flea_lab.compiled import compiled
from flea_lab.core import Event, TradingCore
from flea_lab.decision import Decisions, Recorder
from flea_lab.journal import Journal
from flea_lab.ledger import LOTS, Book, equity_uusd, held_uusd
from flea_lab.model.market import MS_NS, Candle, Features, Funding, Heartbeat
from flea_lab.model.trading import Command, Control, Fill, Refused
from flea_lab.risk.checks import DAILY_LATCH, DAY_OPEN, DRAWDOWN_LATCH, PEAK, GateState
from flea_lab.sandbox.matching import NextOpenMatching
from flea_lab.signal.kernel import FEATURES, Floats

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
    settled: list[Funding]
    opens: list[tuple[str, int]]
    features: list[Features]
    candles: list[Candle]
    hole: bool


def bars(market: Market) -> Iterator[Played]:
    """The market bar after bar; symbols in the config's order."""
    close_ns, opens = market.close_ns.tolist(), market.open_ticks.tolist()
    rows = [bars.tolist() for bars in market.bars]
    present = (market.close_ticks > 0).tolist()
    at, who = market.fund_at.tolist(), market.fund_row.tolist()
    rates, fund_ms = market.fund_rate.tolist(), market.fund_ms.tolist()
    offered = _offered(market)
    symbols, k = list(enumerate(market.symbols)), 0
    for i, ts in enumerate(close_ns):
        settled = []
        while k < len(at) and at[k] == i:
            when = fund_ms[k] * MS_NS
            settled.append(Funding(symbol=market.symbols[who[k]], ts_event=when, ts_recv=when, rate=rates[k]))
            k += 1
        here = [(s, symbol) for s, symbol in symbols if present[s][i]]
        yield Played(
            i,
            settled,
            [(symbol, opens[s][i]) for s, symbol in here],
            [_features(symbol, ts, offered[s][i]) for s, symbol in here] if offered else [],
            [_candle(symbol, ts, rows[s][i]) for s, symbol in here],
            len(here) < len(symbols),
        )


def _offered(market: Market) -> list[list[list[float]]]:
    """Features of every symbol and bar; empty where the market has none."""
    return market.features.tolist() if market.features.shape[1] == market.n else []


def _features(symbol: str, ts: int, row: list[float]) -> Features:
    return Features(symbol=symbol, ts_event=ts, ts_recv=ts, **dict(zip(FEATURES, row, strict=True)))


def _candle(symbol: str, ts: int, row: list[float]) -> Candle:
    return Candle(
        symbol=symbol,
        ts_event=ts,
        ts_recv=ts,
        open=row[0],
        high=row[1],
        low=row[2],
        close=row[3],
        volume=row[4],
        buy_volume=row[5],
    )


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
    close_ns = market.close_ns.tolist()
    for played in tqdm(bars(market), total=market.n, desc="replay", unit="bar", disable=not progress, leave=False):
        for settlement in played.settled:
            driver.feed(settlement)
        told = controls.get(played.bar) if controls else None
        for control in told.before if told else ():
            driver.feed(control)
        for symbol, ticks in played.opens:
            driver.open(symbol, ticks, played.bar)
        for control in told.after if told else ():
            driver.feed(control)
        for event in heard(played) if heard is not None else (*played.features, *played.candles):
            driver.feed(event)
        if played.hole:
            driver.feed(Heartbeat(ts_event=close_ns[played.bar]))
        driver.note(played.bar)
    return driver.seen()


@compiled
def note_account(book: Book, cash: int, gate: GateState, i: int, curves: Ints, lots: Ints) -> None:
    """Writes bar `i`: equity, cash, gross, the day's base, peak and latches to `curves`, positions to `lots`."""
    curves[0, i] = equity_uusd(book, cash)
    curves[1, i] = cash
    curves[2, i] = held_uusd(book)
    curves[3, i] = gate[DAY_OPEN]
    curves[4, i] = gate[PEAK]
    curves[5, i] = gate[DAILY_LATCH] + 2 * gate[DRAWDOWN_LATCH]
    for s in range(book.shape[0]):
        lots[s, i] = book[s, LOTS]


class _Driver:
    """Carries events to the core and commands to the exchange, and writes down what happened."""

    def __init__(self, market: Market, core: TradingCore, exchange: NextOpenMatching, journal: Journal | None) -> None:
        self.core, self.exchange, self.journal = core, exchange, journal
        self.recorder = Recorder(market.symbols)
        self.open_ns = (market.open_ms * MS_NS).tolist()
        shape = (len(market.symbols), market.n)
        self.curves = np.zeros((6, market.n), np.int64)
        self.lots = np.zeros(shape, np.int64)
        # bar after bar, the symbols of each: appending is cheaper than writing to a place
        self.convictions, self.toxicity, self.opinions = array("d"), array("d"), array("d")
        self.fills: list[Fill] = []
        self.decided: list[int] = []
        self.funding: list[tuple[int, str, float, int]] = []
        self.commands: list[Command] = []

    def feed(self, event: Event) -> None:
        """One event in; what the core commands goes to the exchange, whose answers go back in."""
        if self.journal is not None:
            self.journal.append(event)
        commands = self.core.on(event)
        if not commands:
            return
        self.recorder.on(commands)
        self.commands.extend(commands)
        for command in commands:
            if self.journal is not None:
                self.journal.append(command)
            for report in self.exchange.on(command, command_time(command)):
                self.feed(report)

    def open(self, symbol: str, ticks: int, i: int) -> None:
        """The symbol's bar opens: what rests fills."""
        for fill in self.exchange.open(symbol, ticks, self.open_ns[i]):
            self.fills.append(fill)
            self.decided.append(self.core.router.blotter.get(fill.client_order_id).command.price_ticks)
            self.feed(fill)

    def note(self, i: int) -> None:
        """Writes down the account, what it paid in funding, and the signals after bar `i`."""
        core, ledger = self.core, self.core.ledger
        for funding, paid in core.take_paid():
            if paid:
                self.funding.append((funding.ts_event // MS_NS, funding.symbol, funding.rate, paid))
        note_account(ledger.book, ledger.cash_uusd, core.gate.state, i, self.curves, self.lots)
        self.convictions.extend(core.convictions.values())
        self.toxicity.extend(core.toxicity.values())
        for symbol in core.symbols:
            self.opinions.frombytes(core.desk.opinions(symbol).tobytes())

    def seen(self) -> Replayed:
        """Everything written down."""
        return Replayed(
            self.recorder.decisions(),
            self.fills,
            self.decided,
            self.funding,
            self.curves[0],
            self.curves[1],
            self.curves[2],
            self.lots,
            self._by_symbol(self.convictions),
            self._by_symbol(self.toxicity),
            self._by_symbol(self.opinions, -1, 2),
            self.curves[3:].T,
            self.commands,
        )

    def _by_symbol(self, noted: "array[float]", *shape: int) -> Floats:
        """What was noted bar after bar as an array `(n_symbols, n, *shape)`."""
        n_symbols, n = self.lots.shape
        values = np.frombuffer(noted).reshape(n, n_symbols, *shape)
        return np.ascontiguousarray(np.moveaxis(values, 1, 0))


def command_time(command: Command) -> int:
    """When a command was given, ns UTC."""
    return command.intent.ts_event if isinstance(command, Refused) else command.ts_event
