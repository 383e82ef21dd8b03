"""Many combinations at once are what each of them is alone in the general fold: every metric, to the bit."""

import numpy as np
import pytest

from flea_lab.backtest import cells
from flea_lab.backtest.batch import batch_of
from flea_lab.backtest.market import Market
from flea_lab.backtest.metrics import ACCUMULATORS, METRICS, begin, observe, observe_run
from flea_lab.config import RunConfig
from flea_lab.wiring import prepare, run_fold
from tests.parity.campaign import random_config
from tests.parity.test_campaign import unfunded
from tests.parity.test_planted import market as synthetic_market
from tests.parity.test_planted import seed_config

BUCKETS = {"BTCUSDT": 60.0, "ETHUSDT": 900.0}


def together(configs: list[RunConfig], market: Market) -> list[str]:
    """Where the fold of all `configs` at once differs from that of each: config, metric and both values."""
    start = max(prepare(config, market)[1] for config in configs)
    found = cells.fold_batch(batch_of(configs), market, start)
    out = []
    for config, row in zip(configs, found, strict=True):
        alone = run_fold(config, market, start, curves=True).metrics
        for name, a, b in zip(METRICS, row.tolist(), alone.tolist(), strict=True):
            if a != b and not (a != a and b != b):
                out.append(f"{config.name} {name}: {a!r} together, {b!r} alone")
    return out


def random_batches(seeds: range, market: Market) -> list[tuple[list[RunConfig], Market]]:
    """Random configurations by whether they are funded, each with the market that it asks for."""
    drawn = [random_config(seed_config(), seed, BUCKETS) for seed in seeds]
    funded, free = ([c for c in drawn if c.costs.funding is asked] for asked in (True, False))
    return [(funded, market), (free, unfunded(market))]


@pytest.mark.parametrize("holes", [False, True])
def test_random_configs_together_are_what_each_is_alone(holes: bool) -> None:
    for configs, market in random_batches(range(10), synthetic_market(holes=holes)):
        assert together(configs, market) == []


@pytest.mark.parametrize("drift", [0.0, 0.01, -0.01])
@pytest.mark.parametrize("owed", [0.0, 1e11, 1.05e11], ids=["solvent", "about_nothing", "insolvent"])
def test_bars_taken_in_at_once_are_what_they_are_one_by_one(drift: float, owed: float) -> None:
    rng = np.random.default_rng(3)
    one, many = np.empty(ACCUMULATORS), np.empty(ACCUMULATORS)
    equity = np.rint(1e11 * np.exp(np.cumsum(rng.normal(drift, 0.01, 400))) - owed)
    gross = np.rint(abs(rng.normal(size=400)) * 1e10)
    for length in (1, 7, 8, 9, 64, 400):
        begin(one, 10**11)
        begin(many, 10**11)
        for now, held in zip(equity, gross, strict=True):
            observe(one, now, held)
        for at in range(0, 400, length):
            observe_run(many, equity[at : at + length], gross[at : at + length], min(length, 400 - at))
        assert np.array_equal(one, many)


def test_neither_blocks_nor_groups_of_combinations_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    configs, market = random_batches(range(12), synthetic_market())[0]
    start = max(prepare(config, market)[1] for config in configs)
    batch = batch_of(configs)
    whole = cells.fold_batch(batch, market, start)
    for block, share in ((64, 1 << 20), (1_024, 1), (4_096, 1 << 22)):
        monkeypatch.setattr(cells, "BLOCK", block)
        monkeypatch.setattr(cells, "COLUMN_BYTES", share)
        assert np.array_equal(cells.fold_batch(batch, market, start), whole, equal_nan=True)
    one = batch_of(configs[:1])
    alone = cells.fold_one(one, market, start)
    monkeypatch.setattr(cells, "ALONE", 64)
    again = cells.fold_one(one, market, start)
    assert again.metrics.tobytes() == alone.metrics.tobytes() == whole[0].tobytes()
    assert again.decisions.tobytes() == alone.decisions.tobytes()


def test_a_later_start_of_a_longer_market_is_taken_as_it_is() -> None:
    configs, market = random_batches(range(4), synthetic_market())[0]
    late = market.n - 5
    found = cells.fold_batch(batch_of(configs), market, late)
    alone = [run_fold(config, market, late, curves=True).metrics for config in configs]
    assert np.array_equal(found, np.array(alone), equal_nan=True)
