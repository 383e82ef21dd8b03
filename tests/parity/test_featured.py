"""With books, prints and the funding ahead, sweep, replay and a core that hears it all decide the same."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from flea_lab.backtest.market import window
from flea_lab.backtest.replay import bars
from flea_lab.backtest.sweep import sweep
from flea_lab.config import alphas, with_values
from flea_lab.core import TradingCore
from flea_lab.core_state import CoreState
from flea_lab.data.dataset import Dataset, Origin
from flea_lab.errors import ConfigError, DataError
from flea_lab.model.market import Candle, Heartbeat
from flea_lab.model.trading import NewOrder
from flea_lab.research.parity import check_parity, compare
from flea_lab.risk.checks import VPIN
from flea_lab.signal.kernel import FEATURES
from flea_lab.wiring import (
    build_core,
    build_exchange,
    load_market,
    prepare,
    run_fold,
    run_replay,
    store,
    store_features,
)
from flea_lab.workspace import workspace
from tests.parity.campaign import random_config
from tests.parity.featured import KERNELS, Said, featured_config, featured_market, frames, heard, inside
from tests.parity.test_campaign import check
from tests.parity.test_planted import market as plain


def test_every_kernel_of_features_speaks_and_sweep_equals_replay() -> None:
    config, market = featured_config(), featured_market()
    assert check(config, market) > 200
    seen, _ = run_replay(config, market)
    spoken = (seen.opinions[..., 1] > 0).sum(axis=(0, 1))
    assert dict(zip(KERNELS, (spoken[2:] > 10).tolist(), strict=True)) == dict.fromkeys(KERNELS, True)
    assert (seen.decisions["code"] == VPIN).any()


@pytest.mark.parametrize("seed", range(8))
def test_random_configs_with_features_are_equal(seed: int) -> None:
    check(random_config(featured_config(), seed, features=True), featured_market())


def test_a_core_that_hears_books_and_prints_equals_the_replay_of_their_features() -> None:
    config, market = featured_config(), featured_market()
    _, start = prepare(config, market)
    core = build_core(config, alphas(config), int(market.close_ns[start]))
    equity, convictions = live(core, config)
    seen, _ = run_replay(config, market)
    assert np.array_equal(equity, seen.equity)
    assert np.array_equal(convictions, seen.convictions, equal_nan=True)


@pytest.mark.parametrize("cut", [1, 1_777, 9_000])
def test_a_core_taken_up_again_between_two_messages_hears_on_as_if_nothing_had_been(cut: int) -> None:
    config = featured_config()
    whole, first, second = (build_core(config, alphas(config), 2**62) for _ in range(3))
    events = list(heard())[: cut + 3_000]
    said: tuple[list[Any], list[Any]] = [], []
    for i, event in enumerate(events):
        if i == cut:
            second.load(msgspec.msgpack.decode(msgspec.msgpack.encode(first.dump()), type=CoreState))
        whole.on(event)
        (first if i < cut else second).on(event)
        if i >= cut and isinstance(event, Candle):
            for core, out in zip((whole, second), said, strict=True):
                opinions = [core.desk.opinions(symbol).tobytes() for symbol in core.symbols]
                out.append((opinions, repr(core.convictions), repr(core.toxicity)))
    assert said[0] == said[1]
    assert len(said[0]) > 50
    assert msgspec.msgpack.encode(whole.dump()) == msgspec.msgpack.encode(second.dump())


def live(core: TradingCore, config: Any) -> tuple[Any, Any]:
    """Equity and convictions after every bar of a core that is told all that is heard, on the next-open exchange."""
    market, exchange, events = featured_market(), build_exchange(config), list(heard())
    equity, at = np.zeros(market.n, np.int64), 0
    convictions = np.full((2, market.n), np.nan)

    def feed(event: Any) -> None:
        for command in core.on(event):
            if isinstance(command, NewOrder):
                for report in exchange.on(command, command.ts_event):
                    feed(report)

    for played in bars(market):
        for settlement in played.settled:
            feed(settlement)
        for symbol, ticks in played.opens:
            for fill in exchange.open(symbol, ticks, int(market.open_ms[played.bar]) * 1_000_000):
                feed(fill)
        close = int(market.close_ns[played.bar])
        due = len(played.candles)
        while due:
            event: Said = events[at]
            at += 1
            due -= isinstance(event, Candle)
            feed(event)
        if played.hole:
            feed(Heartbeat(ts_event=close))
        equity[played.bar] = core.ledger.equity_uusd()
        convictions[:, played.bar] = [core.convictions[symbol] for symbol in core.symbols]
    return equity, convictions


def test_a_window_of_a_market_keeps_its_features() -> None:
    config, market = featured_config(), featured_market()
    cut = window(market, 300, 900)
    assert np.array_equal(cut.features, market.features[:, 300:900], equal_nan=True)
    assert check_parity(config, cut).equal


def test_parity_names_the_features_of_the_bar_on_which_two_legs_part() -> None:
    config, market = featured_config(), featured_market()
    folded, (seen, _) = run_fold(config, market, curves=True), run_replay(config, market)
    folded.sink.equity[700] += 1
    found = compare(config, market, prepare(config, market)[1], folded, seen).first
    assert found is not None and found.bar == 700
    assert found.inputs["bar trades"] == market.features[0, 700, FEATURES.index("trades")]


def test_a_market_without_the_features_that_a_kernel_reads_is_refused() -> None:
    config = with_values(featured_config(), {"signals": [{"kernel": "book_imbalance"}], "risk.vpin.source": "absent"})
    with pytest.raises(DataError, match="book_imbalance needs the feature 'imbalance', which for BTCUSDT is not stor"):
        run_fold(config, plain())
    guarded = with_values(featured_config(), {"signals": [{"kernel": "ema_momentum"}]})
    with pytest.raises(DataError, match="the VPIN guard needs the feature 'vpin', which for BTCUSDT is not stored"):
        run_replay(guarded, plain())


def test_vpin_of_the_prints_is_of_the_buckets_that_the_config_asks_for() -> None:
    config, market = featured_config(), featured_market()
    other = with_values(config, {"risk.vpin.window": 21})
    with pytest.raises(DataError, match=r"of BTCUSDT was measured over 20 buckets of 20, config .* asks for 21 of 20"):
        run_fold(other, market)
    with pytest.raises(DataError, match="was measured over 20 buckets"):
        sweep(config, {"risk.vpin.window": [20, 21]}, market)
    with pytest.raises(ConfigError, match=r"toxic_flow reads VPIN of the prints, .* 'trades', not 'absent'"):
        run_fold(with_values(config, {"risk.vpin.source": "absent"}), market)


def test_a_sweep_of_features_equals_its_cells() -> None:
    config, market = featured_config(), featured_market()
    grid = {"book_imbalance.window": [1, 3], "toxic_flow.toxic": [0.2, 0.4]}
    found = sweep(config, grid, market)
    for row in found.table.to_dict("records"):
        cell = found.cell_config({name: row[name] for name in grid})
        assert run_fold(cell, market, found.start).metrics[0] == row["total_return"]


def test_stored_features_are_in_the_market_and_in_its_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEA_HOME", str(tmp_path))
    workspace().ready()
    config, (candles, funding) = featured_config(), frames()
    with pytest.raises(DataError, match="book_imbalance needs the feature 'imbalance', which for BTCUSDT is not"):
        prepare(config, stored(config, candles, funding).market)
    for seed, symbol in enumerate(config.symbols):
        store_features(config, symbol, inside(symbol, seed), "made up")
    loaded = load_market(config)
    assert np.array_equal(loaded.market.features, featured_market().features, equal_nan=True)
    info = store().features_info(Dataset("synthetic", "BTCUSDT", "1m"))
    assert info is not None
    assert loaded.data[0]["features"] == {part.month: part.digest for part in info.partitions}
    plain_config = with_values(config, {"signals": [{"kernel": "ema_momentum"}], "risk.vpin.source": "absent"})
    assert "features" not in load_market(plain_config).data[0]
    assert load_market(plain_config).market.features.shape[1] == 1
    finer = with_values(config, {"instruments.BTCUSDT.funding_interval_h": 4})
    with pytest.raises(DataError, match="features of BTCUSDT were measured with funding_interval_h = 8, this config"):
        load_market(finer)


def stored(config: Any, candles: Any, funding: Any) -> Any:
    """The market of `config` from the store, once candles and funding are in it."""
    for symbol in config.symbols:
        key = Dataset("synthetic", symbol, "1m")
        store().write(key, candles[symbol], Origin(source="synth", synthetic=True))
        store().write_funding("synthetic", symbol, funding[symbol])
    return load_market(config)


def test_features_of_the_next_bar_would_be_found_on_the_bar_that_knew_them() -> None:
    config, market = with_values(featured_config(), {"signals": [{"kernel": "book_imbalance"}]}), featured_market()
    _, start = prepare(config, market)
    ahead = replace(market, features=np.roll(market.features, -1, axis=1))
    folded, (seen, _) = run_fold(config, market, start, curves=True), run_replay(config, ahead, start)
    first = compare(config, market, start, folded, seen).first
    assert first is not None
    assert first.bar <= start + 1
    assert first.what == "direction of book_imbalance"
