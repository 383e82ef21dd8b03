"""Settlements over years accrue exactly: replay, fold, sandbox and ledger against exact decimal sums.

The sum knows nothing of the product's arithmetic: quantity x price x rate in decimals, never rounded. Every payment is
the whole micro-dollar nearest to it (an exact half may go either way), and years of them stay within a cent of the sum.
Prices are made up (a seeded walk on the grid); the rates and their times are settled ones.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flea_lab.backtest.market import Market, build_market
from flea_lab.backtest.playlist import playlist_of
from flea_lab.config import RunConfig
from flea_lab.data.sources.files import read_funding
from flea_lab.data.synthetic import synth_funding
from flea_lab.ledger import FUNDING, LOTS, MARK, Ledger
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import MS_NS
from flea_lab.sandbox.stage import Stage
from flea_lab.wiring import run_fold, run_replay
from tests.backtest.tiny import config
from tests.sandbox.stages import asked, settings

HOUR = 3_600_000
CENT = 10_000
TICK, LOT, HALF = Decimal("0.1"), Decimal("0.001"), Decimal("0.5")
GRID = {"tick_size": str(TICK), "lot_size": str(LOT)}
FIRST = 1_577_836_800_000
"""2020-01-01 in ms UTC."""
VENUES = ("binance", "bybit", "dydx", "gate", "htx", "kucoin", "mexc")
SEVEN = "demo/funding/funding_7venues_BTC_ETH_2020_2023.parquet"
RECENT = "demo/funding/binance_um_funding_8h_2025.parquet"
Settled = dict[str, pd.DataFrame]


def cost_uusd(lots: int, ticks: int, rate: float) -> Decimal:
    """What a position of `lots` at a mark of `ticks` pays in micro-dollars, exactly."""
    return (int(lots) * LOT) * (int(ticks) * TICK) * Decimal(repr(float(rate))) * 1_000_000


def is_nearest(paid: int, exact: Decimal) -> bool:
    """Whether `paid` is a whole number of micro-dollars than which none is nearer to `exact`."""
    return abs(int(paid) - exact) <= HALF


def a_market(run: RunConfig, settled: Mapping[str, pd.DataFrame], first_ms: int, bars: int, seed: int = 3) -> Market:
    """Hourly bars of every symbol that say how to hold it: long, short, less or more, changed every few hours."""
    rng, frames = np.random.default_rng(seed), {}
    for symbol in run.symbols:
        walk = 300_000 + np.cumsum(rng.integers(-90, 91, bars + 1))
        opens, closes = (np.clip(ticks, 1_000, None) / 10.0 for ticks in (walk[:-1], walk[1:]))
        shares = np.repeat(rng.integers(0, 11, bars // 5 + 1) / 10.0, 5)[:bars]
        frames[symbol] = pd.DataFrame(
            {
                "ts": first_ms + HOUR * np.arange(bars, dtype=np.int64),
                "open": opens,
                "high": np.maximum(opens, closes),
                "low": np.minimum(opens, closes),
                "close": closes,
                "volume": np.ones(bars),
                "buy_volume": shares,
            }
        )
    return build_market(run, frames, settled)


def holding(symbols: tuple[str, ...]) -> RunConfig:
    """Holds a part of a stake that never changes, without costs but funding."""
    return config(
        symbols,
        GRID,
        interval="1h",
        sizing={"mode": "target", "base_fraction": 2.0, "basis": "initial"},
        costs={"fee_bps": 2.0, "slippage_bps": 1.0, "funding": True},
        initial_cash_usd=100_000.0,
    )


def due(market: Market, settled: Mapping[str, pd.DataFrame]) -> list[tuple[int, str, int, float]]:
    """(ms, symbol, bar, rate) of every settlement inside the market, found from the frames alone."""
    found = []
    last = int(market.open_ms[-1])
    for symbol, frame in settled.items():
        for ms, rate in zip(frame["ts"].tolist(), frame["funding_rate"].tolist(), strict=True):
            if int(market.open_ms[0]) <= ms <= last:
                found.append((ms, symbol, -((int(market.open_ms[0]) - ms) // HOUR), rate))
    return sorted(found)


def check_replay(run: RunConfig, settled: Settled, market: Market) -> int:
    """The replay pays what the decimal sum says, settlement by settlement, and the fold the same; how many did pay."""
    seen, core = run_replay(run, market)
    held = {symbol: np.zeros(market.n, np.int64) for symbol in run.symbols}
    for fill in seen.fills:  # a fill at the open of a bar is held from there on
        bar = (fill.ts_event // MS_NS - int(market.open_ms[0])) // HOUR
        held[fill.symbol][bar:] += fill.lots if fill.side == "buy" else -fill.lots
    expected = []
    for ms, symbol, bar, rate in due(market, settled):
        if bar == 0:
            continue
        cost = cost_uusd(held[symbol][bar - 1], market.close_ticks[run.symbols.index(symbol), bar - 1], rate)
        if abs(cost) > HALF:
            expected.append((ms, symbol, rate, cost))
    paid = sorted(seen.funding)
    assert [row[:3] for row in paid] == [row[:3] for row in expected]
    assert all(is_nearest(a[3], b[3]) for a, b in zip(paid, expected, strict=True))
    booked = int(core.ledger.book[:, FUNDING].sum())
    assert booked == sum(row[3] for row in paid)
    assert abs(booked - sum(row[3] for row in expected)) < CENT
    curves = run_fold(run, market, curves=True).sink
    assert (curves.cash[-1], curves.equity[-1]) == (seen.cash[-1], seen.equity[-1])
    assert sum(fill.side == "sell" for fill in seen.fills) > market.n / 30, "the position hardly ever changes"
    return len(expected)


def check_sandbox(run: RunConfig, settled: Settled, market: Market) -> int:
    """An account of the sandbox that turns round every 11 hours pays what the decimal sum says."""
    first = str(np.datetime64(int(market.open_ms[0]), "ms"))
    stage = Stage(playlist_of(market), settings(start=first, days=10_000.0, leverage=100.0, faucet_usd=1e6))
    stage.claim("a", 1e6)
    book, symbol = stage.exchange.customers["a"].ledger.book, run.symbols[0]
    dues: dict[int, list[float]] = {}
    for _, who, at, rate in due(market, settled):
        if who == symbol:
            dues.setdefault(at, []).append(rate)
    exact, paying, bar, lots = Decimal(0), 0, 0, 0
    for scene in stage.scenes():
        if scene.ends_bar:
            scene.play()
            if bar % 11 == 0:
                size, lots = (500 + bar % 997, 1) if lots == 0 else (2 * (500 + bar % 89), -lots)
                side = "buy" if lots > 0 else "sell"
                order = asked(f"o{bar}", symbol=symbol, side=side, size=str(size * LOT))
                assert isinstance(stage.submit("a", order, scene.ts_ms), tuple)
            bar += 1
            continue
        before, held = int(book[0, FUNDING]), int(book[0, LOTS])
        scene.play()
        costs = [cost_uusd(held, market.close_ticks[0, bar - 1], rate) for rate in dues.get(bar, ()) if bar]
        assert abs(int(book[0, FUNDING]) - before - sum(costs)) <= HALF * len(costs), f"bar {bar}, {held} lots"
        exact, paying = exact + sum(costs), paying + (book[0, FUNDING] != before)
    assert abs(int(book[0, FUNDING]) - exact) < CENT
    return paying


def recorded(folder: Path, venue: str) -> Settled:
    """BTC and ETH as one of the seven venues settled them."""
    frames = read_funding(folder / SEVEN, venue=venue).frames
    return {symbol: frames[symbol] for symbol in sorted(frames)}


@pytest.mark.parametrize("interval_h", [1, 8])
def test_settlements_accrue_exactly(interval_h: int) -> None:
    settled = {
        symbol: synth_funding(np.random.default_rng(seed), FIRST, FIRST + 1_000 * HOUR, interval_h)
        for seed, symbol in enumerate(("X", "Y"))
    }
    run = holding(("X", "Y"))
    market = a_market(run, settled, FIRST, 1_000)
    assert check_replay(run, settled, market) > 1_500 // interval_h
    assert check_sandbox(run, settled, market) > 800 // interval_h


@pytest.mark.real_data
@pytest.mark.parametrize("venue", ["binance", "dydx", "gate"])
def test_four_years_of_settlements_accrue_exactly(data_dir: Path, venue: str) -> None:
    settled = recorded(data_dir, venue)
    run = holding(tuple(settled))
    market = a_market(run, settled, FIRST, 4 * 365 * 24 + 24)
    rows = sum(len(frame) for frame in settled.values())
    assert len(due(market, settled)) == rows == {"binance": 8_766, "dydx": 35_040, "gate": 8_580}[venue]
    assert check_replay(run, settled, market) > rows * 0.8
    assert check_sandbox(run, settled, market) > rows * 0.35


@pytest.mark.real_data
def test_the_settlements_of_2025_accrue_exactly(data_dir: Path) -> None:
    frames = read_funding(data_dir / RECENT).frames
    settled = {symbol: frames[symbol] for symbol in sorted(frames)}
    run = holding(tuple(settled))
    first = min(int(frame["ts"].iloc[0]) for frame in settled.values()) // HOUR * HOUR - 24 * HOUR
    market = a_market(run, settled, first, 2_500)
    assert len(due(market, settled)) == 1_366
    assert check_replay(run, settled, market) > 1_100
    assert check_sandbox(run, settled, market) > 80  # Binance settled BNB at 0 most of the time


def ledger_sum(rates: Iterable[float], lots: Iterable[int], ticks: Iterable[int]) -> tuple[int, Decimal]:
    """Micro-dollars paid by the ledger and by the decimal sum, over the same positions and marks."""
    ledger = Ledger(("X",), {"X": Instrument(tick_size=TICK, lot_size=LOT)}, 10**12)
    exact = Decimal(0)
    for rate, held, mark in zip(rates, lots, ticks, strict=True):
        ledger.book[0, LOTS], ledger.book[0, MARK] = held, mark
        change = ledger.fund("X", rate)
        expected = cost_uusd(held, mark, rate)
        assert is_nearest(-change, expected), (rate, held, mark)
        exact += expected
    assert ledger.cash_uusd == 10**12 - ledger.book[0, FUNDING]
    return int(ledger.book[0, FUNDING]), exact


@pytest.mark.real_data
@pytest.mark.parametrize("venue", VENUES)
def test_the_ledger_sums_every_venue_exactly(data_dir: Path, venue: str) -> None:
    rng = np.random.default_rng(11)
    for frame in recorded(data_dir, venue).values():
        n = len(frame)
        lots, ticks = rng.integers(-900_000, 900_001, n).tolist(), rng.integers(1_000, 700_000, n).tolist()
        booked, exact = ledger_sum(frame["funding_rate"].tolist(), lots, ticks)
        assert abs(booked - exact) < CENT < abs(booked)


def one_day(rows: list[tuple[int, float]], says: list[float]) -> tuple[Market, RunConfig, pd.DataFrame]:
    """A market of one symbol whose bars say `says`; `rows` are (hour, rate)."""
    run = holding(("X",))
    frame = pd.DataFrame([(FIRST + hour * HOUR, rate) for hour, rate in rows], columns=["ts", "funding_rate"])
    closes = [30_000.0 + 10 * i for i in range(len(says))]
    bars = pd.DataFrame(
        {
            "ts": FIRST + HOUR * np.arange(len(says), dtype=np.int64),
            **dict.fromkeys(("open", "high", "low", "close"), closes),
            "volume": 1.0,
            "buy_volume": [0.5 + say / 2 for say in says],
        }
    )
    return build_market(run, {"X": bars}, {"X": frame.astype({"ts": "int64"})}), run, frame


def test_the_side_that_is_held_into_the_hour_pays() -> None:
    # decided at the close at 03:00 and filled at that open: the settlement stamped 03:00 is still the long's
    market, run, _ = one_day([(3, 0.001), (4, 0.001)], [1.0, 1.0, -1.0, -1.0, -1.0, -1.0])
    seen, _ = run_replay(run, market)
    [(first_ms, _, _, first), (then_ms, _, _, then)] = seen.funding
    assert (first_ms, then_ms) == (FIRST + 3 * HOUR, FIRST + 4 * HOUR)
    long, short = int(seen.lots[0, 2]), int(seen.lots[0, 3])
    assert long > 0 > short
    assert first > 0 > then
    assert is_nearest(first, cost_uusd(long, market.close_ticks[0, 2], 0.001))
    assert is_nearest(then, cost_uusd(short, market.close_ticks[0, 3], 0.001))


def test_a_rate_that_changes_its_sign_turns_the_payment_round() -> None:
    market, run, _ = one_day([(2, 0.0005), (3, -0.0005)], [1.0] * 6)
    seen, _ = run_replay(run, market)
    [paid, got] = [paid for *_, paid in seen.funding]
    assert paid > 0 > got
    assert is_nearest(paid, cost_uusd(seen.lots[0, 1], market.close_ticks[0, 1], 0.0005))
    assert is_nearest(got, cost_uusd(seen.lots[0, 2], market.close_ticks[0, 2], -0.0005))


def test_an_hour_without_settlement_pays_nothing_and_delays_none() -> None:
    hourly = [(hour, 0.0001) for hour in range(1, 12)]
    whole, run, _ = one_day(hourly, [1.0] * 12)
    holed, _, _ = one_day([row for row in hourly if row[0] != 6], [1.0] * 12)
    all_paid, paid = ({ms: paid for ms, *_, paid in run_replay(run, one)[0].funding} for one in (whole, holed))
    missed = FIRST + 6 * HOUR
    assert missed in all_paid and {ms: paid for ms, paid in all_paid.items() if ms != missed} == paid
