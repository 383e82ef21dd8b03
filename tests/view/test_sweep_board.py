"""The sweep board without a browser: set what the controls hold, call what the buttons call."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flea_lab.backtest import sweep as sweeping
from flea_lab.backtest.metrics import METRICS
from flea_lab.backtest.sweep import plan
from flea_lab.config import load
from flea_lab.data.synthetic import synth
from flea_lab.errors import ConfigError, WorkspaceError
from flea_lab.research.plateau import plateau, widest
from flea_lab.view import sweep_board
from flea_lab.view.sweep_board import SweepBoard, axis_paths, parse_values
from flea_lab.view.sweep_board_cells import Landed
from flea_lab.view.sweep_board_latest import Latest
from flea_lab.view.sweep_board_text import ended_text, error_html, point_text, progress_text, where_text
from flea_lab.wiring import Loaded, market_from_frames
from tests.parity.test_planted import seed_config

FAST, SLOW, SURE, RSI = "ema_momentum.fast", "ema_momentum.slow", "combination.min_confidence", "rsi_reversion.period"
WAIT_S = 240.0


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    frames = {s: synth("mixed", np.random.default_rng(5 + i), 1_500) for i, s in enumerate(seed_config().symbols)}
    return market_from_frames(seed_config(), frames)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLEA_HOME", str(tmp_path / "flea"))
    return tmp_path / "flea"


@pytest.fixture
def board(loaded: Loaded) -> SweepBoard:
    return SweepBoard(seed_config(), loaded, (FAST, "5, 9, 40"), (SLOW, "20 to 30 step 10"))


@pytest.fixture
def deep(loaded: Loaded) -> SweepBoard:
    """Four parameters."""
    more = [(SURE, "0.3, 0.4, 0.5"), (RSI, "7, 14")]
    return SweepBoard(seed_config(), loaded, (FAST, "5, 9"), (SLOW, "20, 30, 40"), more)


def begun(board: SweepBoard) -> None:
    """The sweep button, and what it started ended."""
    board._begin()
    assert board.settled(WAIT_S)


def clicked(board: SweepBoard, row: int, column: int) -> None:
    board._clicked(None, SimpleNamespace(point_inds=[[row, column]]), None)
    assert board.settled(WAIT_S)


def shown(board: SweepBoard) -> Any:
    return np.array(board.heat.data[0].z, dtype=float)


def test_values_are_a_list_or_a_range() -> None:
    assert parse_values(FAST, "5, 9,14") == [5, 9, 14]
    assert parse_values(FAST, "14, 5") == [5, 14]
    assert parse_values(FAST, "5 to 20 step 5") == [5, 10, 15, 20]
    assert parse_values("costs.fee_bps", "0.5 to 1.5 step 0.5") == [0.5, 1.0, 1.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5, x", "ema_momentum.fast: 'x' is not a number"),
        ("", "an axis needs at least one value"),
        ("9 to 5 step 1", "the range never arrives at stop"),
        ("5, 5", "each value once"),
    ],
)
def test_impossible_values_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_values(FAST, text)


def test_every_offered_axis_is_a_setting_of_the_config() -> None:
    assert FAST in axis_paths(seed_config())
    assert "rsi_reversion.averaging" not in axis_paths(seed_config())


def test_a_sweep_fills_the_heat_map_and_counts_what_cannot_be(board: SweepBoard) -> None:
    result = board.run()
    assert (result.n, result.n_refused) == (4, 2)
    assert shown(board).shape == (2, 3)
    assert np.isnan(shown(board)[:, 2]).all(), "40 is not faster than 30: the column stays blank, and is there"
    assert np.array_equal(shown(board)[:, :2].reshape(-1), result.column("sharpe"))
    assert board.progress.value == board.progress.max == 4
    assert "4 cells in " in board.status.value and "2 points cannot be" in board.status.value
    assert "first picture after " in board.status.value


def test_a_selected_cell_draws_two_equal_curves(board: SweepBoard) -> None:
    result = board.run()
    equal, config_id = board.select(result.best("total_return"))
    assert equal
    assert config_id in set(result.table["config_id"])
    fold, replay = board.curve.data
    assert len(fold.y) > 100 and np.array_equal(fold.y, replay.y)
    assert "equal to the micro-dollar" in board.message.value


def test_a_click_selects_the_cell_under_the_pointer(board: SweepBoard) -> None:
    board.run()
    clicked(board, 1, 0)
    assert board.selected == {SLOW: 30, FAST: 5}
    assert "slow 30, fast 5: sweep and replay are equal to the micro-dollar" in board.message.value


def test_the_last_of_many_clicks_is_the_cell_that_is_shown(board: SweepBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    board.run()
    entered, go, replayed = threading.Event(), threading.Event(), []
    curves = sweep_board.curves_of

    def slow(config: Any, *rest: Any) -> Any:
        replayed.append(config.signals[0].params["fast"])
        entered.set()
        assert go.wait(WAIT_S)
        return curves(config, *rest)

    monkeypatch.setattr(sweep_board, "curves_of", slow)
    board._clicked(None, SimpleNamespace(point_inds=[[0, 0]]), None)
    assert entered.wait(WAIT_S)
    for row, column in ((1, 0), (0, 0), (1, 1)):
        board._clicked(None, SimpleNamespace(point_inds=[[row, column]]), None)
    go.set()
    assert board.settled(WAIT_S)
    assert board.selected == {SLOW: 30, FAST: 9}
    assert len(replayed) == 2, "clicks in between are not replayed"


def test_a_cell_that_cannot_be_is_not_replayed(board: SweepBoard) -> None:
    board.run()
    clicked(board, 0, 2)
    assert board.selected is None
    assert "this cell has not landed yet, or cannot be" in board.message.value


def test_what_cannot_be_swept_is_said_beside_the_controls_in_one_line(board: SweepBoard) -> None:
    board.axes[1].path.value = FAST
    begun(board)
    assert "choose different settings" in board.message.value
    board.axes[1].path.value, board.axes[0].values.value = SLOW, "50"
    begun(board)
    assert "fast (50) must be shorter than slow (20)" in board.message.value
    board.axes[0].values.value = "1 to 500000 step 1"
    begun(board)
    assert "the grid has 1,000,000 points, a board holds 250,000" in board.message.value
    assert not board.start.disabled and board.cancel.disabled
    assert error_html("a\n<b>") == "<span style='color:#d55e00'>a &lt;b&gt;</span>"


def test_what_nobody_expected_is_said_on_the_board_as_well(board: SweepBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of cheese")

    monkeypatch.setattr(sweep_board, "sweep", broken)
    begun(board)
    assert "RuntimeError: out of cheese" in board.message.value
    assert not board.start.disabled


def test_nothing_can_be_selected_or_kept_before_a_sweep(board: SweepBoard) -> None:
    with pytest.raises(ConfigError, match="no cell can be selected before a sweep has run"):
        board.select({FAST: 5, SLOW: 20})
    with pytest.raises(ConfigError, match="no cell is selected: click one first"):
        board.keep()


def test_the_metric_changes_the_colours_without_a_new_sweep(board: SweepBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    result = board.run()
    monkeypatch.setattr(sweep_board, "sweep", None)
    heat, curve = board.heat, board.curve
    for metric in ("fills", "max_drawdown", METRICS[-1]):
        board.metric.value = metric
        assert board.settled(WAIT_S)
        assert np.array_equal(shown(board)[:, :2].reshape(-1), result.column(metric))
    assert board.heat is heat and board.curve is curve


def test_cells_are_painted_while_the_sweep_is_under_way_and_can_be_clicked(
    board: SweepBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, go = threading.Event(), threading.Event()
    real = sweeping.sweep

    def held(*given: Any, on_chunk: Any, **named: Any) -> Any:
        def landed(chunk: list[int], found: Any) -> None:
            on_chunk(chunk, found)
            first.set()
            assert go.wait(WAIT_S)

        return real(*given, on_chunk=landed, **named)

    monkeypatch.setattr(sweep_board, "sweep", held)
    board._begin()
    assert first.wait(WAIT_S)
    assert board._painter.settled(WAIT_S)
    [(row, column)] = np.argwhere(~np.isnan(shown(board)))
    assert board.start.disabled and not board.cancel.disabled
    assert "1 of 4 cells" in board.status.value and "cells/s" in board.status.value
    board._begin()
    assert "a sweep is under way: cancel it first" in board.message.value
    board._clicked(None, SimpleNamespace(point_inds=[[row, column]]), None)
    assert board._replayer.settled(WAIT_S)
    assert board.selected == {SLOW: [20, 30][row], FAST: [5, 9][column]}
    go.set()
    assert board.settled(WAIT_S)
    assert (~np.isnan(shown(board))).sum() == 4


def test_cancelled_a_sweep_keeps_what_has_landed(board: SweepBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    real = sweeping.sweep

    def held(*given: Any, on_chunk: Any, **named: Any) -> Any:
        def landed(chunk: list[int], found: Any) -> None:
            on_chunk(chunk, found)
            board.cancel.click()

        return real(*given, on_chunk=landed, **named)

    monkeypatch.setattr(sweep_board, "sweep", held)
    begun(board)
    known = int((~np.isnan(shown(board))).sum())
    assert 0 < known < 4
    assert f"cancelled after {known} of 4 cells" in board.status.value
    assert not board.start.disabled and board.cancel.disabled
    monkeypatch.setattr(sweep_board, "sweep", real)
    begun(board)
    assert "4 cells in " in board.status.value


def test_a_third_and_a_fourth_parameter_are_cut_or_their_median(deep: SweepBoard) -> None:
    result = deep.run()
    table = result.table
    assert list(deep.slices) == [SURE, RSI]
    median = table.pivot_table(index=SLOW, columns=FAST, values="sharpe", aggfunc="median")
    assert np.array_equal(shown(deep), median.to_numpy())
    deep.slices[SURE].value = 0.4
    assert deep.settled(WAIT_S)
    part = table[table[SURE] == 0.4].pivot_table(index=SLOW, columns=FAST, values="sharpe", aggfunc="median")
    assert np.array_equal(shown(deep), part.to_numpy())
    deep.slices[RSI].value = 14
    assert deep.settled(WAIT_S)
    cut = table[(table[SURE] == 0.4) & (table[RSI] == 14)].pivot_table(index=SLOW, columns=FAST, values="sharpe")
    assert np.array_equal(shown(deep), cut.to_numpy())
    clicked(deep, 2, 1)
    assert deep.selected == {SLOW: 40, FAST: 9, SURE: 0.4, RSI: 14}


def test_a_click_on_a_median_replays_the_cell_nearest_to_it(deep: SweepBoard) -> None:
    result = deep.run()
    rows = result.table[(result.table[SLOW] == 30) & (result.table[FAST] == 5)]
    clicked(deep, 1, 0)
    assert deep.selected is not None
    chosen = rows[(rows[SURE] == deep.selected[SURE]) & (rows[RSI] == deep.selected[RSI])]
    away = (rows["sharpe"] - rows["sharpe"].median()).abs()
    assert away[chosen.index[0]] == away.min()


def test_parameters_are_added_up_to_four_and_taken_away(board: SweepBoard) -> None:
    board.add.click()
    board.add.click()
    assert [axis.path.value for axis in board.axes][:2] == [FAST, SLOW]
    assert len({axis.path.value for axis in board.axes}) == 4
    assert board.add.disabled
    with pytest.raises(ConfigError, match="a board sweeps 4 parameters at most"):
        board.add_parameter()
    for axis in board.axes[:1:-1]:
        axis.row.children[-1].click()
    assert [axis.path.value for axis in board.axes] == [FAST, SLOW]
    assert not board.add.disabled


def test_the_plateau_is_the_one_that_research_finds_and_is_marked(deep: SweepBoard) -> None:
    result = deep.run()
    deep.slices[SURE].value, deep.slices[RSI].value = 0.4, 14
    for colour, how in (("mean of neighbours", "mean"), ("worst of neighbours", "worst")):
        deep.colour.value = colour
        assert deep.settled(WAIT_S)
        scores = plateau(result.table, result.grid, "sharpe", how=how)  # type: ignore[arg-type]
        at = (result.table[SURE] == 0.4) & (result.table[RSI] == 14)
        assert np.array_equal(shown(deep).reshape(-1), scores[at].to_numpy(), equal_nan=True)
        wide = widest(result.table, result.grid, "sharpe", how=how)  # type: ignore[arg-type]
        found = point_text({name: wide[name] for name in (SLOW, FAST, SURE, RSI)})
        assert f"<b>plateau</b>: {found}; {how} of it and its neighbours {scores.max():.4g}" in deep.where.value
        assert point_text(result.best("sharpe")) in deep.where.value
        deep.slices[SURE].value, deep.slices[RSI].value = wide[SURE], wide[RSI]
        assert deep.settled(WAIT_S)
        mark = deep.heat.data[1]
        assert (mark.x, mark.y, mark.visible) == ((f"{wide[FAST]:g}",), (f"{wide[SLOW]:g}",), True)
        deep.slices[SURE].value, deep.slices[RSI].value = 0.4, 14
    deep.colour.value = "each cell"
    assert deep.settled(WAIT_S)
    assert not deep.heat.data[2].visible and not deep.heat.data[1].x


def test_no_peak_is_named_where_more_is_not_better(board: SweepBoard) -> None:
    board.run()
    board.metric.value, board.colour.value = "fees_usd", "worst of neighbours"
    assert board.settled(WAIT_S)
    assert "more fees usd is not better" in board.where.value
    assert np.nanmax(shown(board)) == board.result.column("fees_usd").max()  # type: ignore[union-attr]


def test_the_cell_becomes_the_reports_parameters_and_nothing_is_overwritten(board: SweepBoard, home: Path) -> None:
    board.run()
    clicked(board, 0, 1)
    board.keep_button.click()
    [path] = (home / "configs").iterdir()
    kept = load(path)
    assert path.name == f"planted-{kept.id[:10]}.toml"
    assert kept.signals[0].params["fast"] == 9 and kept.id == board.result.cell_config(board.selected).id  # type: ignore
    assert f"flea report {path}" in board.message.value
    assert board.keep() == path, "the same once more is no other file"
    path.write_text("name = 'mine'")
    with pytest.raises(WorkspaceError, match="holds something else and is not overwritten"):
        board.keep()
    board.keep_button.click()
    assert "is not overwritten" in board.message.value
    assert path.read_text() == "name = 'mine'"


def test_the_latest_wins_and_is_not_done_more_often_than_its_period() -> None:
    entered, go, seen, value = threading.Event(), threading.Event(), [], [0]

    def work() -> None:
        seen.append(value[0])
        entered.set()
        assert go.wait(WAIT_S)

    latest = Latest(work, 0.0, "test")
    latest.ask()
    assert entered.wait(WAIT_S)
    for number in range(1, 1_000):
        value[0] = number
        latest.ask()
    assert not latest.settled(0.0)
    go.set()
    assert latest.settled(WAIT_S)
    assert seen == [0, 999]
    assert latest.count == 2


def test_a_thousand_chunks_are_not_a_thousand_pictures(board: SweepBoard) -> None:
    cells = plan(seed_config(), board.grid())
    board._landed = landed = Landed(cells, 100)
    for _ in range(1_000):
        board._take(landed, [0, 1], np.zeros((2, len(METRICS))))
    assert board.settled(WAIT_S)
    assert board._painter.count < 50


def test_chunks_are_small_whatever_the_market_and_change_no_config(board: SweepBoard) -> None:
    cut = board._cut_small(plan(seed_config(), {SLOW: range(100, 400), FAST: range(2, 90)}))
    assert cut.deployment.chunk == 10_000_000 // (1_500 * 2)
    assert cut.id == seed_config().id
    assert board._cut_small(plan(seed_config(), {SLOW: [20, 30], FAST: [5, 9]})).deployment.chunk == 1


def test_words_on_progress() -> None:
    assert progress_text(0, 1_200, 0, 0.0) == "0 of 1,200 cells · starting"
    assert progress_text(300, 1_200, 7, 2.0) == "300 of 1,200 cells · 150 cells/s · 6.0 s left · 7 points cannot be"
    assert ended_text(5, 10, 0, 1.0, 0.5) == "cancelled after 5 of 10 cells · 5 cells/s · first picture after 0.50 s"
    assert point_text({"a.period": 5, "b.period": 6.5, "c.x": 1}) == "a.period 5, b.period 6.5, x 1"


def test_no_plateau_is_claimed_before_neighbours_are_known() -> None:
    grid = {SLOW: [20, 30, 40], FAST: [5, 9]}
    landed = Landed(plan(seed_config(), grid), 100)
    assert where_text(landed, "sharpe", "each cell") == "no cell has a sharpe yet"
    landed.put(0, 1, np.full((1, len(METRICS)), 2.0))
    assert "no cell has enough neighbours" in where_text(landed, "sharpe", "each cell")
    assert isinstance(landed.table("sharpe"), pd.DataFrame) and len(landed.table("sharpe")) == 1
