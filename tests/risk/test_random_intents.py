"""Random intents through the whole gate against an exchange that counts for itself: no limit is ever breached there.

A million of them are for the campaign (`slow`); a slice of the same story runs always. The oracle holds what the
exchange would own in the worst case, every loss and every midnight, and shares no code with what it judges.
"""

from typing import Any

import msgspec
import numpy as np
import pytest

from flea_lab.config import RunConfig, alphas
from flea_lab.core import TradingCore
from flea_lab.core_state import CoreState
from flea_lab.model.market import DAY_NS
from flea_lab.model.trading import (
    Accepted,
    Cancelled,
    Fill,
    NewOrder,
    OrderIntent,
    OrderReport,
    Refused,
    Rejected,
    Resume,
    SendUnclear,
)
from flea_lab.wiring import build_core
from tests.backtest.tiny import config

SYMBOLS = ("X", "Y", "Z")
UNIT = 10
"""Micro-dollars of a lot at a tick: 0.001 at 0.01."""

CASH = 100_000_000_000
MOST, SHARE, LOSS, FALL = 10_000.0, 0.25, 0.03, 0.10
RISK = {
    "max_order_usd": MOST,
    "max_concentration": SHARE,
    "max_daily_loss": LOSS,
    "max_drawdown": FALL,
    "orders": {"burst_orders": 100_000, "duplicate_s": 0.0},
    "vpin": {"source": "trades", "bucket_volume": dict.fromkeys(SYMBOLS, 1.0)},
}


def a_config() -> RunConfig:
    return config(SYMBOLS, risk=RISK, costs={"slippage_bps": 2.0}, initial_cash_usd=CASH / 1e6)


class Exchange:
    """What the account really owns, and what its open orders could still make of it."""

    def __init__(self) -> None:
        self.cash = CASH
        self.lots = dict.fromkeys(SYMBOLS, 0)
        self.ticks = dict.fromkeys(SYMBOLS, 10_000)
        self.open: dict[str, tuple[NewOrder, int]] = {}
        self.untold: list[OrderReport] = []
        self.day, self.base, self.last, self.peak = -1, CASH, CASH, CASH
        self.halted_day, self.fallen = -1, False

    def equity(self) -> int:
        return self.cash + sum(lots * self.ticks[symbol] * UNIT for symbol, lots in self.lots.items())

    def close(self, ts: int) -> None:
        """A bar closes: the oracle's own view of midnight, loss and fall."""
        equity = self.equity()
        if ts // DAY_NS > self.day:
            self.base = equity if ts % DAY_NS == 0 or self.day < 0 else self.last
            self.day = ts // DAY_NS
        self.last, self.peak = equity, max(self.peak, equity)
        if (self.base - equity) / self.base > LOSS:
            self.halted_day = self.day
        self.fallen |= (self.peak - equity) / self.peak > FALL

    def worst(self, symbol: str, side: str) -> int:
        """Micro-dollars, signed, if all open orders of that side were filled, and none of the other."""
        more = sum(left for order, left in self.open.values() if (order.symbol, order.side) == (symbol, side))
        lots = self.lots[symbol] + (more if side == "buy" else -more)
        return lots * self.ticks[symbol] * UNIT

    def take(self, order: NewOrder, equity: int) -> None:
        """An order arrives: every limit is checked here, where it counts."""
        assert order.lots >= 1 and order.price_ticks == self.ticks[order.symbol]
        assert self.halted_day != self.day and not self.fallen, "an order while halted"
        value = order.lots * order.price_ticks * UNIT
        slipped = value * 1.0002 if order.side == "buy" else value
        assert slipped <= MOST * 1e6 * 1.0001, "an order larger than one may be"
        before = self.worst(order.symbol, order.side)
        self.open[order.client_order_id] = order, order.lots
        after = self.worst(order.symbol, order.side)
        if not (abs(after) <= abs(before) and after * before >= 0):
            assert abs(after) <= SHARE * equity + 1, "a position larger than its share"


def intent(rng: np.random.Generator, exchange: Exchange, ts: int) -> OrderIntent:
    symbol = SYMBOLS[rng.integers(3)]
    kind = rng.random()
    size = int(rng.uniform(1e6, 15_000e6)) // 10_000 * 10_000
    if kind < 0.05:
        size = int(rng.choice([0, -size, -1, 1, 10**15, 2**61]))
    return OrderIntent(
        symbol=symbol,
        side="buy" if rng.random() < 0.55 else "sell",
        size_usd=size / 1e6,
        order_type="market" if rng.random() < 0.5 else "limit",
        urgency="normal",
        signal_sources=(),
        ts_event=ts,
        price_ticks=exchange.ticks[symbol],
        size_uusd=size,
        conviction=0.5,
    )


def answers(rng: np.random.Generator, exchange: Exchange, ts: int) -> list[OrderReport]:
    """What the venue does with one open order, and in which order it tells it."""
    if not exchange.open:
        return []
    name = list(exchange.open)[rng.integers(len(exchange.open))]
    order, left = exchange.open.pop(name)
    about: dict[str, Any] = {"client_order_id": name, "ts_event": ts}
    kind, filled, told = rng.random(), 0, list[OrderReport]()
    if kind < 0.1:
        return [SendUnclear(**about), Rejected(**about)] if left == order.lots else _open(exchange, order, left, name)
    if kind < 0.9:
        filled = left if kind < 0.5 else int(rng.integers(1, left + 1))
        sign = 1 if order.side == "buy" else -1
        ticks = exchange.ticks[order.symbol]
        exchange.lots[order.symbol] += sign * filled
        exchange.cash -= sign * filled * ticks * UNIT
        fill = Fill(
            **about, symbol=order.symbol, side=order.side, lots=filled, price_ticks=ticks, fee_uusd=0,
            reference_ticks=ticks, fill_id=f"{name}:{left}",
        )  # fmt: skip
        told = [fill]
    if filled < left and rng.random() < 0.5:
        _open(exchange, order, left - filled, name)
        return [Accepted(**about), *told]
    gone = Cancelled(**about, filled_lots=order.lots - left + filled)
    told = [gone, *told] if filled < left and rng.random() < 0.5 else [*told, *([gone] if filled < left else [])]
    return told * (1 + (rng.random() < 0.1))  # and some of it twice


def _open(exchange: Exchange, order: NewOrder, left: int, name: str) -> list[OrderReport]:
    exchange.open[name] = order, left
    return []


def restarted(core: TradingCore, run: RunConfig) -> TradingCore:
    fresh = build_core(run, alphas(run), 0)
    fresh.load(msgspec.msgpack.decode(msgspec.msgpack.encode(core.dump()), type=CoreState))
    for order in core.router.blotter.orders():
        fresh.router.blotter.restore(order)
    return fresh


def campaign(seed: int, n: int) -> dict[str, int]:
    """What became of `n` random intents; an assertion fails at the first limit that is breached."""
    rng, run = np.random.default_rng(seed), a_config()
    core, exchange, counts = build_core(run, alphas(run), 0), Exchange(), {"passed": 0, "refused": 0, "restarts": 0}
    ts = 20_000 * DAY_NS
    for step in range(n):
        if step % 8 == 0:
            ts += int(rng.choice([60, 3_600, 30_000])) * 1_000_000_000
            if rng.random() < 0.2:
                ts -= ts % DAY_NS - (0 if rng.random() < 0.5 else DAY_NS) if ts % DAY_NS > DAY_NS // 2 else 0
            for symbol in SYMBOLS:
                exchange.ticks[symbol] = max(100, round(exchange.ticks[symbol] * float(np.exp(rng.normal(0, 0.004)))))
                core.ledger.mark(symbol, exchange.ticks[symbol])
            exchange.close(ts)
            core._judge(ts, core.ledger.equity_uusd())
            if rng.random() < 0.01 or ts % DAY_NS == 0:
                core, counts["restarts"] = restarted(core, run), counts["restarts"] + 1
            if exchange.fallen and rng.random() < 0.05:
                core.on(Resume(ts_event=ts, clears=("drawdown",), by="ann"))
                exchange.fallen, exchange.peak = False, exchange.last
        assert core.ledger.equity_uusd() == exchange.equity() and core.account().lots == exchange.lots
        toxic = float(rng.choice([0.2, 0.74, 0.76, np.nan, np.inf], p=[0.6, 0.1, 0.1, 0.1, 0.1]))
        asked, equity = intent(rng, exchange, ts), exchange.equity()
        said = core.dealer.on(asked, core.ledger.equity_uusd(), toxic, bool(rng.random() < 0.05), 1.0)
        for order in said:
            if isinstance(order, NewOrder):
                before, after = exchange.worst(order.symbol, order.side), asked.size_uusd
                exchange.take(order, equity)
                grown = abs(exchange.worst(order.symbol, order.side)) > abs(before)
                assert after > 0 and (toxic <= 0.75 or not grown), "toxic flow, or no size at all"
        counts["refused" if any(isinstance(one, Refused) for one in said) else "passed"] += 1
        for report in answers(rng, exchange, ts) if rng.random() < 0.8 else ():
            core.on(report)
    return counts


@pytest.mark.parametrize("seed", [1, 2])
def test_no_random_intent_breaches_a_limit_at_the_exchange(seed: int) -> None:
    counts = campaign(seed, 4_000)
    assert counts["passed"] > 300 and counts["refused"] > 300 and counts["restarts"] > 5, counts


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 20))
def test_no_intent_of_a_million_breaches_a_limit_at_the_exchange(seed: int) -> None:
    counts = campaign(seed, 100_000)
    assert counts["passed"] > 5_000 and counts["restarts"] > 100, counts


@pytest.mark.parametrize("worst", [float("nan"), float("inf")])
def test_a_value_that_is_no_number_never_passes(worst: float) -> None:
    core = build_core(a_config(), alphas(a_config()), 0)
    assert core.gate.code(10_000_000, CASH, 0, 0, worst, 0.1) != 0
