"""A sweep on two worker processes is the sweep here, to the bit, whoever dies."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flea_lab.backtest import cluster
from flea_lab.backtest.market import Market
from flea_lab.backtest.sweep import sweep
from flea_lab.config import RunConfig, from_dict
from flea_lab.data.synthetic import synth
from flea_lab.errors import ConfigError
from flea_lab.wiring import market_from_frames
from tests.report.test_sweep import SAYS

GRID = {"ema_momentum.fast": [3, 5, 9, 12], "ema_momentum.slow": [20, 26, 40], "mine.wait": [3, 5]}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("home")
    (folder / "signals").mkdir()
    (folder / "signals" / "mine.py").write_text(SAYS.format("1.0"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEA_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def config(home: Path) -> RunConfig:
    signals = [{"kernel": "ema_momentum"}, {"kernel": "mine"}]
    values = {"symbols": ["BTCUSDT"], "interval": "1m", "signals": signals, "deployment": {"chunk": 2, "threads": 1}}
    return from_dict(values)


@pytest.fixture(scope="module")
def market(config: RunConfig) -> Market:
    return market_from_frames(config, {"BTCUSDT": synth("mixed", np.random.default_rng(3), 600)}).market


@pytest.fixture(scope="module")
def client(home: Path) -> Iterator[Any]:
    pytest.importorskip("distributed")
    with cluster.local_cluster(2) as client:
        yield client


@pytest.mark.slow  # every worker compiles for itself
def test_two_workers_give_the_bits_of_this_process_though_one_is_killed(
    config: RunConfig, market: Market, client: Any
) -> None:
    here = sweep(config, GRID, market)
    pids = client.run(os.getpid)
    landed: list[int] = []

    def kill_one(chunk: list[int], _: Any) -> None:
        if not landed:
            os.kill(next(iter(pids.values())), signal.SIGKILL)
        landed.extend(chunk)

    there = sweep(config, GRID, market, client=client, on_chunk=kill_one)
    assert sorted(landed) == list(range(24))
    assert there.table.equals(here.table)
    assert there.table["fills"].gt(0).any()


@pytest.mark.slow  # every worker compiles for itself
def test_a_sweep_on_a_cluster_can_be_cancelled_and_goes_on_here(
    config: RunConfig, market: Market, client: Any, tmp_path: Path
) -> None:
    landed: list[int] = []
    stopped = sweep(
        config,
        GRID,
        market,
        client=client,
        resume=tmp_path,
        on_chunk=lambda chunk, _: landed.extend(chunk),
        cancelled=lambda: len(landed) >= 4,
    )
    assert 0 < stopped.table["sharpe"].notna().sum() < 24
    assert sweep(config, GRID, market, resume=tmp_path).table.equals(sweep(config, GRID, market).table)


def test_workers_of_other_code_are_refused(
    config: RunConfig, market: Market, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "code", lambda: "0" * 64)
    with pytest.raises(
        ConfigError, match=r"worker tcp://127.0.0.1:\d+ has other code or packages \(\w{12}, here 0{12}\)"
    ):
        sweep(config, GRID, market, client=client)


def test_a_scheduler_that_is_not_there_and_signals_as_an_axis_are_refused(
    config: RunConfig, market: Market, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        pytest.raises(ConfigError, match="cluster nowhere://x: no scheduler answers"),
        cluster.connected("nowhere://x"),
    ):
        pass
    with pytest.raises(ConfigError, match="a grid over the signals themselves cannot go to a cluster"):
        sweep(config, {"signals": [[{"kernel": "mine"}]]}, market, client=client)


def test_a_market_packed_and_unpacked_is_itself(market: Market) -> None:
    again = cluster.unpacked_market(cluster.packed_market(market))
    for name, value in vars(market).items():
        assert np.array_equal(getattr(again, name), value, equal_nan=name in ("bars", "features")), name
