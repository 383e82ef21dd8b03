"""The sweep board without a browser: set what the controls hold, call what the buttons call."""

from types import SimpleNamespace

import numpy as np
import pytest

from flea_lab.data.synthetic import synth
from flea_lab.errors import ConfigError
from flea_lab.view.sweep_board import SweepBoard, axis_paths, parse_values
from flea_lab.wiring import Loaded, market_from_frames
from tests.parity.test_planted import seed_config

FAST, SLOW = "ema_momentum.fast", "ema_momentum.slow"


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    frames = {s: synth("mixed", np.random.default_rng(5 + i), 1_500) for i, s in enumerate(seed_config().symbols)}
    return market_from_frames(seed_config(), frames)


@pytest.fixture
def board(loaded: Loaded) -> SweepBoard:
    return SweepBoard(seed_config(), loaded, (FAST, "5, 9, 40"), (SLOW, "20 to 30 step 10"))


def test_values_are_a_list_or_a_range() -> None:
    assert parse_values(FAST, "5, 9,14") == [5, 9, 14]
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
    assert len(result.table) == 4
    assert len(result.refused) == 2
    assert np.array(board.heat.data[0].z).shape == (2, 2)
    assert board.progress.value == board.progress.max == 4
    assert "highest sharpe" in board.status.value


def test_a_selected_cell_draws_two_equal_curves(board: SweepBoard) -> None:
    result = board.run()
    equal, config_id = board.select(result.best("total_return"))
    assert equal
    assert config_id in set(result.table["config_id"])
    fold, replay = board.curve.data
    assert np.array_equal(fold.y, replay.y)
    assert "equal to the micro-dollar" in board.status.value


def test_a_click_selects_the_cell_under_the_pointer(board: SweepBoard) -> None:
    board.run()
    board._clicked(None, SimpleNamespace(point_inds=[[1, 0]]), None)
    for _ in range(200):
        if board.selected is not None:
            break
        board._stop.wait(0.05)
    assert board.selected == {SLOW: 30, FAST: 5}


def test_what_cannot_be_swept_is_said_beside_the_controls(board: SweepBoard) -> None:
    board.y.value = FAST
    board._begin()
    assert "choose two different settings" in board.status.value
    board.y.value, board.x_values.value = SLOW, "50"
    board._begin()
    assert "fast (50) must be shorter than slow (20)" in board.status.value


def test_no_cell_can_be_selected_before_a_sweep(board: SweepBoard) -> None:
    with pytest.raises(ConfigError, match="no cell can be selected before a sweep has run"):
        board.select({FAST: 5, SLOW: 20})


def test_the_metric_changes_the_colours_without_a_new_sweep(board: SweepBoard) -> None:
    result = board.run()
    board.metric.value = "fills"
    assert np.nanmax(np.array(board.heat.data[0].z, dtype=float)) == result.table["fills"].max()
