"""A sweep keeps to the memory that it was given: what is cut for it, and what folding then takes."""

import tracemalloc
from functools import cache
from typing import Any

import pytest

from flea_lab.backtest.budget import CELLS, FEWEST, MIB, Cut, chunk_bytes, cut
from flea_lab.backtest.market import Market
from flea_lab.backtest.plan import Plan, plan
from flea_lab.backtest.sweep import common_start, sweep
from flea_lab.config import Deployment, RunConfig, from_dict, with_values
from flea_lab.data.sources.demo import synthetic_market
from flea_lab.errors import ConfigError
from flea_lab.wiring import market_from_frames

BARS = 1_500
GRIDS: dict[str, dict[str, list[Any]]] = {
    "averages": {"ema_momentum.fast": list(range(3, 23)), "ema_momentum.slow": list(range(50, 70))},
    "windows": {"rsi_reversion.period": list(range(1_000, 1_100))},
    "costs": {"costs.fee_bps": [i / 100 for i in range(300)]},
    "guards": {"risk.vpin.window": list(range(2, 152))},
}


@cache
def pair(threads: int = 1, memory_mib: int = 256) -> RunConfig:
    return from_dict(
        {
            "symbols": ["BTCUSDT", "ETHUSDT"],
            "interval": "1m",
            "signals": [{"kernel": "ema_momentum"}, {"kernel": "rsi_reversion"}],
            "risk": {"vpin": {"source": "bars", "bucket_volume": {"BTCUSDT": 60.0, "ETHUSDT": 900.0}}},
            "deployment": {"threads": threads, "memory_mib": memory_mib},
        }
    )


@cache
def stepped() -> RunConfig:
    """As `pair`, with a kernel that keeps a window of its own."""
    return with_values(pair(), {"signals": [{"kernel": "ema_momentum"}, {"kernel": "tick_imbalance"}]})


@cache
def market() -> Market:
    made = {symbol: synthetic_market(symbol, n_bars=BARS) for symbol in pair().symbols}
    candles, funding = ({symbol: found[i] for symbol, found in made.items()} for i in (0, 1))
    return market_from_frames(pair(), candles, funding).market


@cache
def planned(name: str) -> Plan:
    return plan(pair(), GRIDS[name])


def traced(work: Any) -> float:
    """MiB that `work` held at the most."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / MIB
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("name", GRIDS)
def test_no_chunk_takes_more_than_is_said_of_it(name: str) -> None:
    cells = planned(name)
    start = common_start(cells.configs, market())
    cells.fold(0, 1, market(), start)
    for chunk in (1, cells.n):
        took = traced(lambda chunk=chunk: cells.fold(0, chunk, market(), start))
        assert took <= chunk_bytes(cells, market(), chunk) / MIB


def test_what_a_kernel_keeps_counts_once_for_every_tile_that_has_it() -> None:
    cells = plan(stepped(), {"ema_momentum.fast": [5, 9, 13], "tick_imbalance.window": list(range(1_000, 1_080))})
    start = common_start(cells.configs, market())
    cells.fold(0, 1, market(), start)
    took = traced(lambda: cells.fold(0, cells.n, market(), start))
    assert 80 * 2 * 2 * 1_000 * 2 * 8 / MIB < took <= chunk_bytes(cells, market(), cells.n) / MIB


@pytest.mark.parametrize("name", ["windows", pytest.param("averages", marks=pytest.mark.slow)])
def test_a_sweep_keeps_to_its_budget(name: str) -> None:
    given = with_values(pair(), {"deployment.memory_mib": 6})
    cells = plan(given, GRIDS[name])
    assert chunk_bytes(cells, market(), cells.n) > 6 * MIB
    sweep(given, {}, market(), cells=plan(given, {"costs.fee_bps": [1.0]}))  # compiled, and its progress bar imported
    assert traced(lambda: sweep(given, {}, market(), cells=cells)) <= 6.0


def test_a_smaller_budget_cuts_smaller_chunks_and_at_last_takes_threads_away() -> None:
    cells, sizes = planned("averages"), (2_048, 24, 12, 6)
    cuts = [cut(cells, market(), Deployment(threads=4, memory_mib=mib)) for mib in sizes]
    assert cuts[0] == Cut(4, cells.n // 8)
    held = [found.threads * chunk_bytes(cells, market(), found.chunk) / MIB for found in cuts]
    assert all(took <= mib for took, mib in zip(held, sizes, strict=True))
    assert sorted(held, reverse=True) == held and len(set(held)) == len(held)
    assert cuts[-1].threads < 4


def test_one_thread_takes_a_small_grid_at_once_and_no_grid_in_chunks_beyond_some_thousands() -> None:
    assert cut(planned("windows"), market(), Deployment(threads=1)) == Cut(1, 100)
    large = plan(pair(), {"costs.fee_bps": [i / 100 for i in range(5_000)]})
    assert cut(large, market(), Deployment(threads=1, memory_mib=1_024)) == Cut(1, CELLS)
    assert cut(large, market(), Deployment(threads=1, memory_mib=1_024, chunk=7)) == Cut(1, 7)
    assert FEWEST < 100


def test_a_budget_in_which_not_one_combination_fits_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"deployment.memory_mib = 1: one combination alone needs \d+\.\d MiB"):
        cut(planned("windows"), market(), Deployment(memory_mib=1))
