"""What of a grid can be, and why not, is what the config says of each point; batches are what configs give."""

from types import SimpleNamespace
from typing import Any, NamedTuple

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from flea_lab.backtest.batch import Batch, batch_of
from flea_lab.backtest.grid import Space, points
from flea_lab.backtest.group import Parameters
from flea_lab.backtest.plan import BLOCK, plan, plan_points
from flea_lab.config import RunConfig, alphas, from_dict, plain, with_values
from flea_lab.errors import ConfigError
from flea_lab.settings import Bars, Settings
from flea_lab.signal import parts
from flea_lab.signal.kernel import Kernel, kernel
from flea_lab.signal.registry import builtin_kernels

VALUES: dict[str, list[Any]] = {
    "ema_momentum.fast": [3, 9, 30, 0, 2.5, "x"],
    "ema_momentum.slow": [21, 30, 6_000, np.int64(26)],
    "ema_momentum.weight": [0.5, -1.0, 2],
    "signals.1.weight": [1.0, 0.0],
    "signals.1.params.period": [7, 14, True],
    "rsi_reversion.averaging": ["simple", "wilder", "both"],
    "rsi_reversion.oversold": [20.0, 30, 90.0],
    "combination.min_confidence": [0.1, 1.5],
    "combination": [{"min_conviction": 0.2}, {"min_convict": 0.2}],
    "sizing.mode": ["target", "half"],
    "sizing.base_fraction": [0.1, 11.0, 1],
    "risk.max_drawdown": [0.1, 2.0],
    "risk.max_order_usd": [1e4, 1e9, 0.0],
    "risk.vpin.source": ["absent", "bars", "none"],
    "risk.vpin.window": [10, 0],
    "risk.vpin.bucket_volume": [{"BTCUSDT": 60.0}, {"BTCUSDT": 60.0, "ETHUSDT": 900.0}, {"XRPUSDT": 1.0}],
    "risk.vpin": [{"source": "absent"}, {"limit": 3.0}],
    "risk.orders.duplicate_s": [10.0, 20.0, -1.0],
    "tolerance.settle_bars": [1, 5, 0],
    "tolerance.kinds": [["hole", "resent"], ["resent"], ["nothing"]],
    "costs.fee_bps": [0.0, 2, 5_000.0],
    "initial_cash_usd": [1e3, 0.0, 1e9],
    "slicing.minutes": [30.0, 0.0],
    "slicing.every_s": [60.0, 3_600.0],
    "name": ["other", "No Name"],
    "deployment.threads": [1, 0],
}
PAIR = {
    "symbols": ["BTCUSDT", "ETHUSDT"],
    "interval": "1m",
    "signals": [{"kernel": "ema_momentum"}, {"kernel": "rsi_reversion", "weight": 0.7}],
    "risk": {"vpin": {"bucket_volume": {"BTCUSDT": 50.0, "ETHUSDT": 800.0}}},
}


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return from_dict(PAIR)


def by_the_point(config: RunConfig, grid: dict[str, list[Any]]) -> tuple[list[RunConfig], list[dict[str, Any]]]:
    """The slow way: every point a config of its own."""
    configs, refused = [], []
    for point in points(grid):
        try:
            configs.append(with_values(config, point, "grid cell"))
        except ConfigError as error:
            refused.append({**point, "reason": str(error).rsplit(" (in ", 1)[0]})
    return configs, refused


def known(config: RunConfig) -> list[str]:
    """The axes that `config` has."""
    found = []
    for path in VALUES:
        try:
            plan(config, {path: VALUES[path][:1]})
        except ConfigError:
            continue
        found.append(path)
    return found


def test_every_axis_tried_here_is_a_setting(config: RunConfig) -> None:
    assert set(known(config)) == set(VALUES)


@hypothesis.settings(max_examples=60)
@hypothesis.given(st.data())
def test_what_can_be_and_why_not_is_what_the_config_says(data: st.DataObject) -> None:
    config = from_dict(PAIR)
    names = data.draw(st.lists(st.sampled_from([*VALUES]), min_size=1, max_size=4, unique=True))
    grid = {
        name: data.draw(st.lists(st.sampled_from(VALUES[name]), min_size=1, max_size=3, unique_by=repr))
        for name in names
    }
    configs, refused = by_the_point(config, grid)
    if not configs:
        with pytest.raises(ConfigError, match="no cell of the grid can be"):
            plan(config, grid)
        return
    found = plan(config, grid)
    assert [each.to_dict() for each in found.configs] == [each.to_dict() for each in configs]
    assert list(found.refused) == refused
    assert found.warmup == max(alphas(each).warmup for each in configs)
    same(found.batch(0, found.n), batch_of(configs))
    assert found.ids(0, found.n) == [each.id for each in configs]


def same(batch: Batch, asked: Batch) -> None:
    """Two batches say the same of every combination."""
    assert batch.kernels == asked.kernels and batch.n == asked.n
    for i in range(batch.n):
        for ours, theirs in zip(batch.cell(i), asked.cell(i), strict=True):
            assert np.array_equal(ours, theirs, equal_nan=True)


def test_a_listed_space_is_its_points(config: RunConfig) -> None:
    tried = [
        {"ema_momentum.fast": 9, "risk.max_drawdown": 0.1},
        {"ema_momentum.fast": 30, "risk.max_drawdown": 0.1},
        {"ema_momentum.fast": 5, "risk.max_drawdown": 0.25},
    ]
    found = plan_points(config, tried)
    assert list(found.points) == [tried[0], tried[2]]
    assert [each["ema_momentum.fast"] for each in found.refused] == [30]
    same(found.batch(0, 2), batch_of([with_values(config, point) for point in (tried[0], tried[2])]))


def test_a_grid_of_hundreds_of_thousands_is_told_by_number(config: RunConfig) -> None:
    grid = {
        "ema_momentum.fast": list(range(2, 202)),
        "ema_momentum.slow": list(range(3, 203)),
        "costs.fee_bps": [1, 2, 3, 4, 5],
    }
    found = plan(config, grid)
    assert found.n == 5 * sum(f < s for f in grid["ema_momentum.fast"] for s in grid["ema_momentum.slow"])
    assert found.n + len(found.refused) == 200_000
    for cell in (0, 1, BLOCK - 1, BLOCK, found.n - 1):
        point = found.points[cell]
        assert found.ids(cell, cell + 1) == [with_values(config, point).id]
        same(found.batch(cell, cell + 1), batch_of([with_values(config, point)]))
    last = found.refused[len(found.refused) - 1]
    assert last.pop("reason") == "fast (201) must be shorter than slow (201)"
    assert last == {"ema_momentum.fast": 201, "ema_momentum.slow": 201, "costs.fee_bps": 5}


def test_a_grid_may_change_the_signals_themselves(config: RunConfig) -> None:
    grid = {"signals": [[{"kernel": "ema_momentum"}], [{"kernel": "rsi_reversion"}], [{"kernel": "none_such"}]]}
    found = plan(config, grid)
    configs, refused = by_the_point(config, grid)
    assert [each.id for each in found.configs] == [each.id for each in configs] == found.ids(0, found.n)
    assert list(found.refused) == refused
    assert found.mixed and found.warmup == max(alphas(each).warmup for each in configs)


class Windows(Settings, frozen=True, kw_only=True):
    fast: Bars = 3
    slow: Bars = 9
    width: float = 1.0


class Ordered(Windows, frozen=True, kw_only=True):
    def __post_init__(self) -> None:
        if self.fast >= self.slow:
            raise ValueError("fast must be shorter")


class Said(NamedTuple):
    direction: float = 0.0
    confidence: float = 0.0


SHARED: dict[str, Any] = {
    "least": parts.lowest("low", window="fast"),
    "before": parts.lag("low", window="slow"),
    "average": parts.ewm("close", period=5),
}


def _kernels() -> list[Kernel]:
    """Kernels of every kind: with parts or without, with a state, a memory, a warm-up or a rule of its own."""

    def reads(bar: Any, p: Any, x: Any) -> Said:
        return Said(bar.close - p.width * x.before, x.least)

    def keeps(s: Said, bar: Any, p: Any, memory: Any, x: Any) -> Said:
        return Said(s.direction + bar.close, p.width * x.least)

    def alone(s: Said, bar: Any, p: Any, memory: Any) -> Said:
        return Said(s.direction + bar.close, p.width)

    return [
        kernel(Windows, Said, parts=SHARED)(reads),
        kernel(Ordered, Said, parts=SHARED)(reads),
        kernel(Windows, Said, parts=SHARED, warmup=lambda p: 4 * p.fast)(reads),
        kernel(Windows, Said, parts=SHARED, memory=lambda p: 2 * p.slow)(keeps),
        kernel(Windows, Said, inputs=("close",), memory=lambda p: p.slow, warmup=lambda p: p.fast + p.slow)(alone),
        kernel(Windows, Said, inputs=("close",))(alone),
    ]


@pytest.mark.parametrize("kind", range(6))
def test_parameters_are_told_at_once_what_the_kernel_tells_of_each(kind: int) -> None:
    made = _kernels()[kind]
    axes = {"k.fast": [3, 1, 0, 8], "k.slow": [2, 9, 6_000, 7, 2.5], "k.width": [1, np.float64(0.5), "x"]}
    space = Space(axes)
    config: Any = SimpleNamespace(signals=[SimpleNamespace(params={"fast": 3, "slow": 9, "width": 1.0})])
    found = Parameters(config, space, [0, 1, 2], 0, made)
    expected, floats = [], 0
    for number in range(space.n):
        values = {path[2:]: plain(value) for path, value in space.point(number).items()}
        try:
            params = made.load(values, "a point")
        except ConfigError:
            expected.append(0)
            continue
        assert found.load(number) == params
        expected.append(made.warmup(params) if made.warmup is not None else 1)
        floats = max(floats, made.n_state + made.memory(params))
    assert found.warmups.tolist() == expected and sum(expected) > 0
    assert found.floats == floats


def test_alphas_of_the_package_are_told_at_once_as_one_by_one(config: RunConfig) -> None:
    for name, made in builtin_kernels().items():
        if not made.is_alpha or made.warmup is None:
            continue
        fields = made.params.__struct_fields__
        field = next(name for name in fields if isinstance(getattr(made.load({}, "a point"), name), int))
        default: Any = SimpleNamespace(signals=[SimpleNamespace(params={})])
        found = Parameters(default, Space({f"{name}.{field}": [2, 4, 8, 16]}), [0], 0, made)
        one_by_one = [found.load(number) if found.can[number] else None for number in range(4)]
        assert found.warmups.tolist() == [made.warmup(p) if p is not None else 0 for p in one_by_one]
