"""Several symbols on one time axis: what is there, what is missing, when funding falls due."""

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from flea_lab.backtest.arrays import new_state
from flea_lab.backtest.cell import build_cell
from flea_lab.backtest.market import Market, build_market, require_inputs, require_market, window
from flea_lab.backtest.sweep import fold_cells, plan
from flea_lab.config import RunConfig, alphas, with_values
from flea_lab.errors import ConfigError, DataError
from flea_lab.risk.checks import VpinGate
from flea_lab.signal.kernel import FIELDS
from flea_lab.wiring import run_fold, run_replay
from tests.backtest.tiny import MINUTE, NOON, Bar, config, frame, funding, tiny

RATE = FIELDS.index("funding_rate")
NAN = float("nan")

A: list[Bar] = [(0, 10.0, 11.0, 0.0), (1, 11.0, 12.0, 0.0), (4, 12.0, 13.0, 0.0)]
B: list[Bar] = [(1, 5.0, 5.5, 0.0), (2, 5.5, 5.25, 0.0)]


def two(settled: Any = None) -> Market:
    return tiny(config(("A", "B")), {"A": A, "B": B}, settled)


def test_the_axis_is_every_bar_that_any_symbol_has_and_a_hole_stays_a_hole() -> None:
    market = two()
    assert ((market.open_ms - NOON) // MINUTE).tolist() == [0, 1, 2, 4]
    assert market.open_ticks.tolist() == [[1000, 1100, 0, 1200], [0, 500, 550, 0]]
    assert market.close_ticks.tolist() == [[1100, 1200, 0, 1300], [0, 550, 525, 0]]
    assert np.isnan(market.bars[0, 2]).all() and np.isnan(market.bars[1, [0, 3]]).all()
    assert market.bars[1, 2, :5].tolist() == [5.5, 5.5, 5.25, 5.25, 1.0]
    assert market.close_ns.tolist() == [(ms + MINUTE) * 1_000_000 for ms in market.open_ms.tolist()]
    assert market.bars_per_year == 525_600


@pytest.mark.parametrize(
    ("ms", "bar"),
    [
        (0, 0),
        (1, 1),
        (MINUTE, 1),
        (MINUTE + 1, 2),
        (3 * MINUTE, 3),
        (4 * MINUTE, 3),
        (-1, None),
        (4 * MINUTE + 1, None),
    ],
)
def test_a_settlement_is_charged_before_the_first_open_at_or_after_it(ms: int, bar: int | None) -> None:
    market = two({"A": [(ms, 0.01)]})
    assert market.fund_at.tolist() == ([] if bar is None else [bar])
    assert market.fund_ms.tolist() == ([] if bar is None else [NOON + ms])
    rates = market.bars[0, :, RATE]
    assert np.isnan(rates[:bar]).all()
    if bar is not None:
        assert rates[bar:].tolist() == [0.01] * (market.n - bar), "every bar from then on knows it, holes too"


def test_settlements_are_in_order_of_bar_time_and_symbol() -> None:
    market = two({"A": [(MINUTE + 2, 0.1), (2 * MINUTE, 0.2)], "B": [(MINUTE + 1, 0.3), (2 * MINUTE, 0.4)]})
    assert market.fund_at.tolist() == [2, 2, 2, 2]
    assert market.fund_rate.tolist() == [0.3, 0.1, 0.2, 0.4]
    assert market.fund_row.tolist() == [1, 0, 0, 1]
    assert market.bars[0, 2, RATE] == 0.2 and market.bars[1, 2, RATE] == 0.4


def test_without_funding_in_the_costs_there_is_none() -> None:
    run = config(("A", "B"), costs=dict(funding=False))
    market = tiny(run, {"A": A, "B": B}, {"A": [(0, 0.1)]})
    assert len(market.fund_at) == 0 and np.isnan(market.bars[:, :, RATE]).all()


def test_a_market_is_read_only() -> None:
    market = two({"A": [(0, 0.1)]})
    for name, value in vars(market).items():
        if isinstance(value, np.ndarray):
            assert not value.flags.writeable, name
            with pytest.raises(ValueError, match="read-only"):
                value[...] = 0


def test_a_window_keeps_the_settlements_that_fall_in_it() -> None:
    market = two({"A": [(0, 0.1), (MINUTE, 0.2), (4 * MINUTE, 0.3)]})
    cut = window(market, 1, 3)
    assert cut.open_ms.tolist() == market.open_ms[1:3].tolist()
    assert (cut.fund_at.tolist(), cut.fund_rate.tolist()) == ([0], [0.2])
    assert cut.close_ticks.tolist() == market.close_ticks[:, 1:3].tolist()


def test_frames_of_symbols_that_are_not_traded_are_left_out() -> None:
    run = config(("A",))
    frames = {"A": frame(A), "Z": frame(B)}
    assert build_market(run, frames, {"Z": funding([(0, 0.1)])}).bars.shape == (1, 3, 7)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ({"A": frame(A)}, r"no candles for B, config 'tiny' needs A, B"),
        ({"A": frame(A), "B": frame([])}, r"no candles for B"),
        (
            {"A": frame(A), "B": frame([(0, 0.001, 1.0, 0.0)])},
            r"price 0\.001 is not between 1 and 2147483647 ticks of 0\.01",
        ),
        ({"A": frame(A), "B": frame([(0, 1.0, 1e9, 0.0)])}, r"price 1000000000\.0 is not between"),
    ],
)
def test_what_cannot_be_a_market_is_refused(frames: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        build_market(config(("A", "B")), frames)


@pytest.mark.parametrize("rate", [NAN, float("inf")])
def test_a_rate_that_is_no_number_is_refused_with_its_time(rate: float) -> None:
    with pytest.raises(DataError, match=rf"funding of A at {NOON + 7} ms is not a number"):
        two({"A": [(0, 0.1), (7, rate)]})


def test_a_market_without_what_a_kernel_or_the_guard_reads_is_refused() -> None:
    run = config(("A",))
    bare = build_market(run, {"A": frame(A).drop(columns="buy_volume")})
    with pytest.raises(DataError, match="tick_imbalance needs 'buy_volume', which the candles of A do not have"):
        require_inputs(bare, alphas(run), VpinGate())
    plain = config(("A",), signals=[{"kernel": "rsi_reversion"}])
    require_inputs(bare, alphas(plain), VpinGate())
    with pytest.raises(DataError, match="the VPIN guard needs 'buy_volume', which the candles of A do not have"):
        require_inputs(bare, alphas(plain), VpinGate(source="bars"))


def test_a_window_knows_no_rate_that_was_settled_before_it() -> None:
    run = config(("X",))
    market = tiny(run, {"X": [(i, 100.0, 100.0, 0.0) for i in range(6)]}, {"X": [(MINUTE, 0.001), (4 * MINUTE, 0.002)]})
    assert np.array_equal(market.bars[0, :, RATE], [np.nan, 0.001, 0.001, 0.001, 0.002, 0.002], equal_nan=True)
    part = window(market, 2, 6)
    assert np.array_equal(part.bars[0, :, RATE], [np.nan, np.nan, 0.002, 0.002], equal_nan=True)
    assert part.fund_at.tolist() == [2]
    assert market.bars[0, 2, RATE] == 0.001


@pytest.mark.parametrize(
    ("other", "trades"),
    [
        (config(("A",)), r"trades A in bars of 60000 ms"),
        (config(("B", "A")), r"trades B, A in bars of 60000 ms"),
        (with_values(config(("A", "B")), {"interval": "5m"}), r"trades A, B in bars of 300000 ms"),
    ],
)
def test_a_config_is_never_run_on_the_market_of_another(other: RunConfig, trades: str) -> None:
    market, told = two(), rf"the market holds A, B in bars of 60000 ms, config 'tiny' {trades}"
    for run in (run_fold, run_replay):
        with pytest.raises(DataError, match=told):
            run(other, market)
    with pytest.raises(DataError, match=told):
        fold_cells([other], market, 0)


def test_a_cell_of_fewer_symbols_never_reaches_compiled_code() -> None:
    one = config(("A",))
    with pytest.raises(DataError, match="the cell was built for 1 symbols, the market holds 2"):
        new_state(build_cell(one, alphas(one)), 2)


@pytest.mark.parametrize(
    ("axis", "values"),
    [
        ("symbols", [["A"], ["A", "B"]]),
        ("interval", ["1m", "5m"]),
        ("instruments.A.tick_size", ["0.01", "0.5"]),
        ("data.start", ["2025-01-01"]),
        ("costs.funding", [True, False]),
    ],
)
def test_what_the_market_was_built_from_is_no_axis(axis: str, values: list[Any]) -> None:
    with pytest.raises(ConfigError, match=f"grid axis {axis}: all cells share one market"):
        plan(config(("A", "B")), {axis: values})


@pytest.mark.parametrize("start", [-1, 4, 5])
def test_a_run_trades_from_a_bar_that_the_market_has(start: int) -> None:
    run, market = config(("A", "B")), two()
    for leg in (run_fold, run_replay):
        with pytest.raises(DataError, match=f"start = {start}: the market has bars 0 to 3"):
            leg(run, market, start)


def test_a_signal_that_reads_funding_is_told_why_there_is_none() -> None:
    run, settled = config(("A", "B"), costs=dict(funding=False)), {"A": [(0, 1e-4)], "B": [(0, 1e-4)]}
    found = alphas(run)
    reading = found._replace(kernels=tuple(replace(kernel, inputs=("funding_rate",)) for kernel in found.kernels))
    with pytest.raises(DataError, match=r"needs funding, which for A is not stored or left out by costs\.funding"):
        require_inputs(tiny(run, {"A": A, "B": B}, settled), reading, VpinGate())


def test_a_market_on_another_grid_or_otherwise_funded_is_refused() -> None:
    run = config(("A", "B"))
    market = two()
    finer = config(("A", "B"), {"tick_size": "0.001", "lot_size": "0.001"})
    with pytest.raises(DataError, match=r"the market holds A on Instrument.*trades it on Instrument"):
        require_market(finer, market)
    with pytest.raises(DataError, match=r"the market was built with costs\.funding = True"):
        require_market(config(("A", "B"), costs=dict(funding=False)), market)
    require_market(run, market)
