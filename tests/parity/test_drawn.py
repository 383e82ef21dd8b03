"""500 random configurations over all kernels, sizing modes and guards, one to four symbols: the sweep's engine and the
general fold take the replay's decisions and come to its metrics, to the bit. A slice on every run."""

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from flea_lab.risk.checks import NAMES
from flea_lab.signal.registry import builtin_kernels
from tests.parity.drawn import MEMBERS, SETS, differences, drawn, parted, truth, written_kernels
from tests.parity.hunting import BATCHES
from tests.parity.planting import interpreted_engine


@pytest.fixture(scope="module", autouse=True)
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with written_kernels(tmp_path_factory.mktemp("drawn")):
        yield


@pytest.mark.parametrize("number", [0, 2, 5, 12, 15])
def test_a_drawn_batch_is_equal_in_sweep_and_replay(number: int) -> None:
    assert list(differences(number)) == []


def test_the_campaign_draws_everything_there_is() -> None:
    """Every built-in alpha, and those that were written besides; with every count of symbols."""
    assert {name for found in SETS.values() for name in found} >= {
        *(name for name, found in builtin_kernels().items() if found.is_alpha),
        *("ema_cross", "paced", "turning", "stochastic"),
    }
    assert len(BATCHES) * MEMBERS == 500
    assert {(number % 5, number // 5 % 4) for number in BATCHES} == {(a, b) for a in range(5) for b in range(4)}


def covered(numbers: list[int]) -> dict[str, Counter[object]]:
    """What the configurations of these batches were."""
    out: dict[str, Counter[object]] = {}
    for number in numbers:
        one = drawn(number)
        for config, right in zip(one.configs, truth(number), strict=True):
            told = {
                "kernels": one.kernels,
                "symbols": len(config.symbols),
                "interval": config.interval,
                "sizing": f"{config.sizing.mode} {config.sizing.basis}",
                "guards": "tight" if config.risk.max_daily_loss <= 0.01 else "loose",
                "funding": config.costs.funding,
                "vpin": config.risk.vpin.source,
                "holes": "any" if config.tolerance.max_hole_bars is None else "some",
                "decided": sum(right.codes) > 0,
            }
            for what, value in told.items():
                out.setdefault(what, Counter())[value] += 1
            for code, count in enumerate(right.codes):
                out.setdefault("refused by, in configurations", Counter())[NAMES[code]] += count > 0
            out.setdefault("kernels that spoke", Counter()).update(right.spoke)
            out.setdefault("decisions", Counter())["all"] += sum(right.codes)
            out.setdefault("fills", Counter())["all"] += int(right.metrics[9])
    return out


@pytest.mark.slow
@pytest.mark.timeout(7_200)
def test_500_drawn_configurations_are_equal_in_sweep_fold_and_replay(capsys: pytest.CaptureFixture[str]) -> None:
    told = [line for number in BATCHES for line in (*differences(number), *parted(number))]
    table = covered(BATCHES)
    with capsys.disabled():
        print(json.dumps({what: dict(found.most_common()) for what, found in table.items()}, default=str, indent=1))
    assert told == []
    assert table["decided"][True] > 400
    assert len(table["kernels that spoke"]) == len({name for found in SETS.values() for name in found})
    for what in ("sizing", "guards", "funding", "symbols", "vpin", "holes", "interval"):
        assert min(table[what].values()) >= 25, what
    assert len(table["sizing"]) == 4
    reachable = ("passed", "daily_loss", "drawdown", "concentration", "order_size", "vpin", "below_minimum", "data")
    assert min(table["refused by, in configurations"][name] for name in reachable) >= 5


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_the_engine_interpreted_is_the_engine_compiled() -> None:
    """Else a planted bug would be caught for being interpreted."""
    with interpreted_engine() as by:
        assert [line for number in range(20) for line in differences(number, by)] == []
