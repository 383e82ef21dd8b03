"""Convictions that seldom change: stretches between them are taken whole, and change no bit."""

import numpy as np
import pytest

from flea_lab.backtest.batch import batch_of
from flea_lab.backtest.cells import fold_batch
from flea_lab.backtest.market import Market
from flea_lab.config import RunConfig
from flea_lab.decision import digest
from flea_lab.signal.turns import SELDOM, WORD, find_turns
from flea_lab.wiring import run_fold
from tests.backtest import tiny

BARS = 2_600


def said_for_long(seed: int, mean: float) -> Market:
    """Bars of one symbol, some missing, whose conviction stays for `mean` of them."""
    rng = np.random.default_rng(seed)
    closes = np.round(100.0 * np.exp(np.cumsum(rng.normal(0, 0.002, BARS))), 2)
    changes = rng.random(BARS) < 1.0 / mean
    says = rng.choice([-1.0, -0.5, 0.0, 0.005, 0.5, 1.0], BARS)[np.maximum.accumulate(changes * np.arange(BARS))]
    kept = rng.random(BARS) > 0.01
    bars = [(i, closes[i - 1], closes[i], says[i]) for i in range(1, BARS) if kept[i]]
    return tiny.tiny(tiny.config(), {"X": bars})


def of_every_mode(seed: int) -> list[RunConfig]:
    """Sizings, bands and limits, loose and tight, that a stretch has to tell apart."""
    rng, found = np.random.default_rng(seed), []
    for mode in ("increment", "target"):
        for basis in ("initial", "live"):
            for band in (0.0, 0.02, 1.0):
                risk = {
                    "max_daily_loss": float(rng.choice([0.01, 1.0])),
                    "max_drawdown": float(rng.choice([0.03, 1.0])),
                    "max_concentration": float(rng.choice([0.3, 10.0])),
                }
                sizing = {"mode": mode, "basis": basis, "base_fraction": 0.5, "rebalance_band": band}
                costs = {"fee_bps": float(rng.uniform(0, 30)), "slippage_bps": float(rng.uniform(0, 5))}
                found.append(tiny.config(sizing=sizing, risk=risk, costs=costs))
    return found


@pytest.mark.parametrize("mean", [4.0, 40.0, 400.0])
def test_together_and_alone_are_the_general_fold_to_the_bit(mean: float) -> None:
    market = said_for_long(int(mean), mean)
    configs = of_every_mode(int(mean))
    found = fold_batch(batch_of(configs), market, 5)
    for config, row in zip(configs, found, strict=True):
        general, alone = run_fold(config, market, 5, curves=True), run_fold(config, market, 5)
        assert row.tobytes() == general.metrics.tobytes(), config.sizing
        assert alone.metrics.tobytes() == general.metrics.tobytes(), config.sizing
        assert digest(alone.decisions, ("X",)) == digest(general.decisions, ("X",))


@pytest.mark.parametrize("n", [1, 7, 8, 63, 64, 65, 200, 1_024])
def test_turns_are_where_a_conviction_is_not_the_one_before(n: int) -> None:
    rng = np.random.default_rng(n)
    for mean in (9.0, 20.0, 300.0):
        says = rng.normal(size=n)[np.maximum.accumulate((rng.random(n) < 1 / mean) * np.arange(n))]
        row, turns = np.append(says, rng.normal(size=8)), np.full(n // SELDOM + 2 * WORD, -1)
        expected = [i for i in range(n) if i == 0 or says[i] != says[i - 1]]
        count = find_turns(row, n, turns)
        if len(expected) * SELDOM <= n:
            assert turns[: count + 1].tolist() == [*expected, n]
        else:
            assert count == -1
