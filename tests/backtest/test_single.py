"""A single backtest, fills and round trips included, is to the bit what the fold and the replay of it are."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flea_lab.backtest import alone, single
from flea_lab.backtest.market import Market
from flea_lab.backtest.result import build_result
from flea_lab.config import RunConfig, with_values
from flea_lab.wiring import prepare, run_fold, run_replay, run_single
from tests.backtest import tiny
from tests.backtest.test_cells import BUCKETS
from tests.parity.campaign import random_config
from tests.parity.staged import undisturbed
from tests.parity.test_campaign import unfunded
from tests.parity.test_planted import market as synthetic_market
from tests.parity.test_planted import seed_config


def replayed_trades(config: RunConfig, market: Market) -> tuple[list[Any], pd.DataFrame, Any]:
    seen, core = run_replay(config, market)
    found, start = prepare(config, market)
    told: Any = {"source": "", "synthetic": True, "quality": {}, "data": []}
    result = build_result(config, found, market, seen, core.ledger.book, start, {}, **told)
    return seen.fills, result.trades, seen.equity[start:]


def require_same(config: RunConfig, market: Market) -> int:
    """How many fills there were."""
    found, folded = run_single(config, market), run_fold(config, market, curves=True)
    assert found.metrics.tobytes() == folded.metrics.tobytes()
    assert found.decisions.tobytes() == folded.decisions.tobytes()
    assert np.array_equal(found.equity, folded.sink.equity[found.start :])
    fills, trades, equity = replayed_trades(config, market)
    assert np.array_equal(found.equity, equity)
    told = [
        (market.symbols[f["symbol"]], int(f["lots"]), int(f["price_ticks"]), int(f["fee_uusd"])) for f in found.fills
    ]
    assert told == [(f.symbol, f.lots if f.side == "buy" else -f.lots, f.price_ticks, f.fee_uusd) for f in fills]
    assert [int(f["reference_ticks"]) for f in found.fills] == [f.reference_ticks for f in fills]
    if len(trades):
        pd.testing.assert_frame_equal(found.trades, trades, check_exact=True)
    assert len(found.trips) == len(trades) == found.metric("round_trips")
    return len(fills)


@pytest.mark.parametrize("short", [0, 10**9], ids=["columns", "fold"])
@pytest.mark.parametrize("holes", [False, True])
def test_random_configs_alone_are_what_fold_and_replay_find(
    short: int, holes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single, "SHORT", short)
    market = synthetic_market(holes=holes)
    free, filled = unfunded(market), 0
    for seed in range(2):
        config = random_config(seed_config(), seed, BUCKETS)
        filled += require_same(config, market if config.costs.funding else free)
    assert filled > 0


def test_over_bars_that_all_symbols_lack_a_fill_is_at_the_next_bar_that_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(single, "SHORT", 0)
    whole = synthetic_market(holes=False)
    kept = np.flatnonzero((np.arange(whole.n) // 70) % 3 != 1)
    left = {name: getattr(whole, name)[:, kept].copy() for name in ("bars", "open_ticks", "close_ticks")}
    for array in left.values():  # as they are in every market
        array.flags.writeable = False
    none = {name: getattr(whole, name)[:0] for name in ("fund_at", "fund_row", "fund_rate", "fund_ms")}
    config = with_values(seed_config(), {"costs.funding": False})
    gapped = replace(whole, open_ms=whole.open_ms[kept], funded=False, **left, **none)
    assert gapped.whole and gapped.features.shape[1] == 1
    assert require_same(config, gapped) > 10


def test_an_equity_beyond_what_floats_hold_is_counted_in_whole_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single, "SHORT", 0)
    market, config = unfunded(synthetic_market(holes=False)), with_values(seed_config(), {"costs.funding": False})
    usual = run_single(config, market)
    monkeypatch.setattr(single, "EXACT", float(usual.equity.max()))
    found = run_single(config, market)
    assert found.curve is None and usual.curve is not None and np.array_equal(found.equity, usual.curve)


@pytest.mark.parametrize("bars", [64, 16_384])
def test_the_quick_way_is_what_fold_and_replay_find(bars: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its decisions told with their fills, whose decisions they name; a combination of two alphas too."""
    monkeypatch.setattr(single, "SHORT", 0)
    monkeypatch.setattr(alone, "BARS", bars)
    monkeypatch.setattr(alone, "ROWS", bars)
    one = undisturbed()
    for config in (*one.configs[::2], seeded(one.configs[0])):
        assert require_same(config, one.market) > 0
        found = run_single(config, one.market)
        assert found.filled is not None
        behind = found.decisions[found.filled["decision"]]
        assert np.array_equal(behind["side"] * behind["lots"], found.filled["lots"])


def seeded(config: RunConfig) -> RunConfig:
    """The same account, with two alphas that speak of the price."""
    signals = [
        {"kernel": "ema_momentum", "params": {"fast": 3, "slow": 6, "z_window": 20, "volume_window": 5}},
        {"kernel": "rsi_reversion", "params": {"period": 5}, "weight": 0.5},
    ]
    return with_values(config, {"signals": signals, "combination.min_confidence": 0.1}, "test")


def test_a_latch_that_closes_in_a_hole_takes_back_the_order_that_waits_through_it() -> None:
    config = tiny.config(("X", "Y"), risk={"max_drawdown": 0.05})
    x = [
        (0, 100.0, 100.0, 0.5),
        (1, 100.0, 100.0, 0.5),
        (2, 90.0, 80.0, 0.5),
        (3, 80.0, 80.0, 0.5),
        (4, 80.0, 80.0, 0.0),
    ]
    y = [(0, 50.0, 50.0, 0.0), (1, 50.0, 50.0, 0.4), (4, 50.0, 50.0, 0.0)]
    market = tiny.tiny(config, {"X": x, "Y": y})
    found = run_single(config, market)
    passed = found.decisions[(found.decisions["code"] == 0) & (found.decisions["symbol"] == 1)]
    assert len(passed) == 1 and not (found.fills["symbol"] == 1).any()
    require_same(config, market)


@pytest.mark.parametrize("short", [0, 10**9], ids=["columns", "fold"])
def test_a_fill_names_its_bar_and_the_decision_behind_it(short: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single, "SHORT", short)
    market = synthetic_market(holes=False)
    found = run_single(seed_config(), market)
    assert len(found.fills) > 0
    for fill in found.fills:
        decision = found.decisions[fill["decision"]]
        assert decision["side"] * decision["lots"] == fill["lots"] and decision["symbol"] == fill["symbol"]
        assert decision["ts_ns"] == market.close_ns[fill["bar"] - 1]
        assert fill["reference_ticks"] == market.open_ticks[fill["symbol"], fill["bar"]]


def test_room_for_decisions_grows_and_keeps_what_is_there() -> None:
    told = alone._told(10)
    have = len(told.decisions)
    told.decisions[:], told.fills[:], told.equity[:] = 7, 8, 9
    assert alone._with_room(told, have - alone.BARS, 3) is told
    more = alone._with_room(told, have - alone.BARS + 1, 3)
    assert len(more.decisions) == len(more.fills) == 2 * have and more.equity is told.equity
    assert (more.decisions[: have - alone.BARS + 1] == 7).all() and (more.fills[:3] == 8).all()
    more.convictions[0, 0] = 1.5
    assert more.decisions[0, 0] == np.float64(1.5).view(np.int64), "the same memory, as floats"
