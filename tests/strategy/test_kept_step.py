"""The compiled step of a desk is kept across processes where all that it is made of has one name, and nowhere else."""

from typing import Any

import numpy as np

from flea_lab.compiled import direct
from flea_lab.signal.ema_momentum import ema_momentum
from flea_lab.signal.ensemble import Ensemble
from flea_lab.signal.kernel import N_FIELDS, kernel
from flea_lab.signal.tick_imbalance import TickImbalanceParams, TickImbalanceState, tick_imbalance
from flea_lab.strategy import desk

steps_of = desk._steps.__wrapped__  # type: ignore[attr-defined]


def run(step: Any, ensemble: Ensemble, rows: Any) -> tuple[Any, Any]:
    """What `step` says over random bars, and what it leaves in memory."""
    dice = np.random.default_rng(7)
    start, sizes = ensemble.start([kernel.params() for kernel in ensemble.kernels])
    mem, told, opinions = np.stack([start]), np.full(3, np.nan), np.full((1, 2, 2), np.nan)
    bars, weights, said = np.full((1, N_FIELDS), np.nan), np.array([0.5, 0.5]), []
    compiled = direct(step, mem, sizes, rows, bars, weights, told, opinions, 0.0, 0.1, 0, 1)
    for price in 100.0 + dice.standard_normal(120).cumsum():
        bars[0, :] = price
        compiled(mem, sizes, rows, bars, weights, told, opinions, 0.0, 0.1, 0, 1)
        said.append(opinions.copy())
    return np.array(said), mem


def test_a_step_that_another_process_compiled_is_loaded_and_says_the_same_to_the_bit() -> None:
    ensemble = Ensemble([tick_imbalance, ema_momentum])
    rows = ensemble.rows([kernel.params() for kernel in ensemble.kernels])
    afresh = run(steps_of(ensemble.step, ""), ensemble, rows)
    run(steps_of(ensemble.step, ensemble.key), ensemble, rows)
    again = steps_of(ensemble.step, ensemble.key)
    loaded = run(again, ensemble, rows)
    assert sum(again.stats.cache_hits.values()) == 1 and not again.stats.cache_misses
    for one, other in zip(afresh, loaded, strict=True):
        assert one.tobytes() == other.tobytes()


def test_two_orders_of_the_same_kernels_are_two_keys_and_two_files() -> None:
    one, other = Ensemble([tick_imbalance, ema_momentum]), Ensemble([ema_momentum, tick_imbalance])
    assert one.key == "tick_imbalance ema_momentum" and other.key == "ema_momentum tick_imbalance"
    files = {steps_of(each.step, each.key)._cache._cache_file._index_path for each in (one, other)}
    assert len(files) == 2


def test_a_step_of_somebodys_own_is_kept_nowhere_also_under_the_name_of_one_of_ours() -> None:
    def step(state: TickImbalanceState, bar: Any, params: Any, memory: Any) -> TickImbalanceState:
        return TickImbalanceState()

    step.__name__ = "tick_imbalance"
    mine = kernel(TickImbalanceParams, TickImbalanceState, inputs=("close",), warmup=None)(step)
    assert mine.name == "tick_imbalance"
    assert Ensemble([ema_momentum, mine]).key == "" and Ensemble([ema_momentum]).key == "ema_momentum"
