"""A large order on candles: a restart changes nothing, never more than ordered, and cheaper than at once."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from flea_lab.errors import DataError
from flea_lab.execution.slicing import Slicing
from flea_lab.model.instrument import Instrument
from flea_lab.research.slicing_lab import compare, day_volume, work
from flea_lab.sandbox.depth import DepthSettings
from flea_lab.view.slicing import cost_figure, plan_figure, worked_figure

GRID = Instrument(tick_size=Decimal("0.01"), lot_size=Decimal("0.001"), min_notional_usd=Decimal(5))
DEPTH = DepthSettings(steps=4, levels=10)
SLICING = Slicing(minutes=20.0, participation=0.2)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0, 5e-4, 200)))
    opens = np.concatenate([[100.0], close[:-1]])
    rows = {"ts": np.arange(200) * 60_000, "open": opens, "high": np.maximum(opens, close) + 0.02,
            "low": np.minimum(opens, close) - 0.02, "close": close, "volume": rng.uniform(5, 40, 200)}  # fmt: skip
    return pd.DataFrame(rows).round(2)


@pytest.mark.parametrize("style", ["twap", "iceberg"])
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_restart_in_the_middle_changes_nothing(frame: pd.DataFrame, style: str, side: str) -> None:
    how = Slicing(style=style, minutes=20.0, participation=0.2)  # type: ignore[arg-type]
    straight = work(frame, GRID, side, 40.0, how, depth=DEPTH)  # type: ignore[arg-type]
    killed = work(frame, GRID, side, 40.0, how, depth=DEPTH, restart=7)  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(straight.fills, killed.fills)
    pd.testing.assert_frame_equal(straight.bars, killed.bars)
    assert straight.filled == straight.fills["lots"].sum() and straight.filled <= 40_000
    assert (straight.bars["given"] <= 40_000).all() and straight.bars["filled"].is_monotonic_increasing


def test_a_twap_keeps_its_share_and_ends_with_all_of_it(frame: pd.DataFrame) -> None:
    worked = work(frame, GRID, "buy", 40.0, SLICING, depth=DEPTH)
    given = worked.bars["given"].diff().fillna(worked.bars["given"].iloc[0])
    allowed = 0.2 * np.concatenate([[frame["volume"].iloc[0]], worked.bars["volume"].to_numpy()[:-1] / 1_000])
    assert worked.filled == 40_000 and (given.to_numpy() <= allowed * 1_000 + 1e-6).all()
    assert (given <= 2_000).all(), "no slice is larger than planned"


def test_at_once_costs_more_than_in_slices(frame: pd.DataFrame) -> None:
    costs = compare(frame, GRID, 40.0, {"at once": None, "twap": SLICING}, [0, 60])
    assert np.mean(costs["at once"]) > np.mean(costs["twap"]) > 0.0
    assert work(frame, GRID, "buy", 40.0, None, depth=DEPTH).filled == 40_000


def test_the_figures_say_what_was_done(frame: pd.DataFrame) -> None:
    worked = work(frame, GRID, "buy", 40.0, SLICING, depth=DEPTH)
    assert worked_figure(worked, "TWAP:").layout.title.text.startswith("TWAP: 40,000 of 40,000 lots, ")
    drawn = plan_figure(40_000, SLICING, day_volume(frame, 60_000) * 1_000)
    assert sum(drawn.data[0].y) == 40_000 and drawn.layout.title.text.startswith("twap of 40,000 lots: 20 slices")
    assert [box.name for box in cost_figure({"a": [1.0, 3.0]}).data] == ["a<br>mean +2.0"]


@pytest.mark.parametrize(("qty", "start"), [(0.0001, 0), (1.0, 199), (1.0, -1)])
def test_what_cannot_be_worked_is_refused(frame: pd.DataFrame, qty: float, start: int) -> None:
    with pytest.raises(
        DataError, match=rf"{qty} from bar {start}: at least a lot of 0\.001, and a bar after it of 200"
    ):
        work(frame, GRID, "buy", qty, SLICING, start=start)
