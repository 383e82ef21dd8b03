"""A sweep on two worker processes is the sweep here, to the bit, whoever dies."""

import os
import re
import signal
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from flea_lab import runs
from flea_lab.backtest import cluster
from flea_lab.backtest.market import Market
from flea_lab.backtest.sweep import sweep
from flea_lab.cli import app
from flea_lab.config import RunConfig, from_dict
from flea_lab.data.synthetic import synth
from flea_lab.errors import ConfigError
from flea_lab.wiring import demo_config, market_from_frames
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
    for name in (field.name for field in fields(market)):
        value = getattr(market, name)
        assert np.array_equal(getattr(again, name), value, equal_nan=name in ("bars", "features")), name


def test_chunks_folded_by_a_worker_are_the_bits_of_this_process(market: Market) -> None:
    distributed, psutil = pytest.importorskip("distributed"), pytest.importorskip("psutil")
    signals = [{"kernel": "ema_momentum"}]
    one = from_dict({"symbols": ["BTCUSDT"], "interval": "1m", "signals": signals, "deployment": {"chunk": 2}})
    grid = {"ema_momentum.fast": [3, 5, 9], "ema_momentum.slow": [20, 40]}
    place: dict[str, Any] = {"host": cluster.LOOPBACK, "protocol": "tcp", **cluster.HEARD_HERE}
    with (
        distributed.LocalCluster(1, threads_per_worker=1, processes=False, **place) as there,
        cluster.connected(there.scheduler_address) as client,
    ):
        heard = {s.laddr.ip for s in psutil.Process().net_connections("inet") if s.status == psutil.CONN_LISTEN}
        found = sweep(one, grid, market, client=client)
    assert heard == {cluster.LOOPBACK}
    assert found.table.equals(sweep(one, grid, market).table)
    assert found.n == 6 and found.table["fills"].gt(0).any()


@pytest.mark.slow  # the same by the command line, with its page
def test_flea_sweep_on_a_worker_gives_the_bits_of_this_process(
    config: RunConfig, market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setenv("FLEA_HOME", str(tmp_path))
    monkeypatch.delenv("FLEA_DATA_DIR", raising=False)
    demo_config(("BTCUSDT",))
    values = {**demo_config(("BTCUSDT",), days=1).to_dict(), "signals": [{"kernel": "ema_momentum"}]}
    (tmp_path / "one.toml").write_text(runs.to_toml(values))
    (tmp_path / "grid.toml").write_text("[ema_momentum]\nfast = [3, 5, 9, 12]\nslow = [20, 26, 40]\n")
    words = ["sweep", str(tmp_path / "one.toml"), "--grid", str(tmp_path / "grid.toml")]
    landed: list[int] = []

    def seen(*given: Any) -> Iterator[Any]:
        for number, found in cluster.fold_on_cluster(*given):
            landed.append(number)
            yield number, found

    monkeypatch.setattr("flea_lab.backtest.sweep.fold_on_cluster", seen)
    with distributed.LocalCluster(
        1, threads_per_worker=1, processes=False, protocol="tcp", host=cluster.LOOPBACK, **cluster.HEARD_HERE
    ) as there:
        said = CliRunner().invoke(app, [*words, "--cluster", there.scheduler_address])
        assert said.exit_code == 0, said.output
    assert len(landed) >= 2
    here = CliRunner().invoke(app, words)
    first, second = (pd.read_parquet(f"{re.findall('run +(.+)', one.stdout)[0]}/cells.parquet") for one in (said, here))
    assert len(first) == 12 and first.equals(second)
