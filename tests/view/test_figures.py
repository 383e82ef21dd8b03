"""Figures show the numbers of their frames, stay small, fit any page and are never widgets."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from flea_lab.errors import DataError
from flea_lab.view import figures
from flea_lab.view.theme import BLUE, ORANGE
from flea_lab.view.thin import POINTS

START = 1_735_689_600_000
N = 20_000


def curve(count: int = N) -> pd.DataFrame:
    worth = 100_000.0 + np.cumsum(np.sin(np.arange(count) / 50.0))
    frame = pd.DataFrame({"ts": START + 60_000 * np.arange(count), "equity_usd": worth})
    return frame.assign(drawdown=worth / np.maximum.accumulate(worth) - 1.0)


def candles(count: int = N) -> pd.DataFrame:
    frame = curve(count)
    price = frame["equity_usd"]
    bar = {"open": price, "high": price + 5, "low": price - 5, "close": price, "volume": 1.0}
    return pd.DataFrame({"ts": frame["ts"], **bar})


def fills(count: int) -> pd.DataFrame:
    sides = np.where(np.arange(count) % 2, "sell", "buy")
    ts = START + 60_000 * np.linspace(0, N - 1, count).astype(int)
    return pd.DataFrame({"ts": ts, "symbol": "BTCUSDT", "side": sides, "qty": 0.5, "price": 100_000.0})


def positions() -> pd.DataFrame:
    worth = 25_000.0 * np.sign(np.sin(np.arange(N) / 300.0))
    return pd.DataFrame({"ts": curve()["ts"], "symbol": "BTCUSDT", "qty": worth / 1e5, "notional_usd": worth})


def grid() -> pd.DataFrame:
    rows = [(fast, slow, depth, fast - slow / 10 + depth) for fast in (5, 9) for slow in (21, 45) for depth in (0, 1)]
    return pd.DataFrame(rows, columns=["fast", "slow", "depth", "sharpe"])


DRAWN: dict[str, Callable[[], go.Figure]] = {
    "equity": lambda: figures.equity_figure(curve(), curve()),
    "few trades": lambda: figures.trades_figure(candles(), fills(50), "BTCUSDT"),
    "many trades": lambda: figures.trades_figure(candles(), fills(9_000), "BTCUSDT"),
    "no trades": lambda: figures.trades_figure(candles(), fills(0), "BTCUSDT"),
    "exposure": lambda: figures.exposure_figure(positions(), curve(), 0.25),
    "signals": lambda: figures.signals_figure({"a": curve().rename(columns={"equity_usd": "growth"})}),
    "vetoes": lambda: figures.vetoes_figure({"drawdown": 3, "daily_loss": 0}),
    "no vetoes": lambda: figures.vetoes_figure({}),
    "costs": lambda: figures.costs_figure(-2_000.0, 6_000.0, 1_000.0, -50.0),
    "heatmap": lambda: figures.heatmap(grid(), "fast", "slow", "sharpe"),
    "two curves": lambda: figures.two_curves_figure(curve(), curve(), ("live", "backtest")),
}


@pytest.fixture(params=DRAWN)
def figure(request: pytest.FixtureRequest) -> go.Figure:
    return DRAWN[request.param]()


def test_a_figure_is_plain_has_no_fixed_width_and_stays_small(figure: go.Figure) -> None:
    assert type(figure) is go.Figure
    assert figure.layout.width is None and figure.layout.autosize and figure.layout.height >= 60
    assert "sendChartToCloud" in figure.layout.modebar.remove, "a chart of a strategy is not uploaded by a stray click"
    assert figure.layout.paper_bgcolor == "rgba(0,0,0,0)", "the page's own background shows, light or dark"
    for trace in figure.data:
        assert trace.x is None or len(trace.x) <= max(POINTS, 1_500)
    assert len(figure.to_json()) < 120_000


def test_the_deepest_drawdown_survives_the_shortening() -> None:
    frame = curve()
    frame.loc[7_777, "drawdown"] = -0.5
    drawn = figures.equity_figure(frame, frame)
    assert min(drawn.data[2].y) == pytest.approx(-50.0)
    assert [trace.name for trace in drawn.data] == ["buy and hold", "strategy", "drawdown"]


def test_times_are_numbers_that_plotly_reads_as_utc() -> None:
    drawn = figures.equity_figure(curve(10), curve(10))
    assert drawn.data[0].x[0] == START and drawn.layout.xaxis.type == "date"


def test_few_fills_are_marked_at_their_price_many_clear_of_the_candles() -> None:
    few = figures.trades_figure(candles(), fills(50), "BTCUSDT")
    assert set(few.data[1].y) == {100_000.0} and len(few.data[1].x) == 25
    many = figures.trades_figure(candles(), fills(9_000), "BTCUSDT")
    bought, sold = many.data[1], many.data[2]
    assert (np.array(bought.y) < np.array(sold.y)).all() and len(bought.x) <= 121
    assert sum(row[2] for row in bought.customdata) == 4_500, "merged marks still count every fill"
    assert (bought.marker.color, sold.marker.color) == (BLUE, ORANGE)
    assert (bought.marker.symbol, sold.marker.symbol) == ("triangle-up", "triangle-down")


def test_fills_of_another_symbol_are_not_marked() -> None:
    drawn = figures.trades_figure(candles(), fills(50).assign(symbol="ETHUSDT"), "BTCUSDT")
    assert len(drawn.data[1].x) == len(drawn.data[2].x) == 0


def test_exposure_is_signed_and_in_percent_of_equity() -> None:
    drawn = figures.exposure_figure(positions(), curve(), 0.25)
    assert max(drawn.data[0].y) == pytest.approx(25.0, rel=0.01) and min(drawn.data[0].y) < -24.0
    assert [shape.y0 for shape in drawn.layout.shapes] == [25.0, -25.0]
    assert not figures.exposure_figure(positions(), curve()).layout.shapes


def test_the_waterfall_ends_at_what_is_left() -> None:
    drawn = figures.costs_figure(-2_000.0, 6_000.0, 1_000.0, -50.0).data[0]
    assert list(drawn.y) == [-2_000.0, -6_000.0, -1_000.0, 50.0, -8_950.0]
    assert drawn.text[-1] == "\u22128,950" and drawn.text[3] == "+50"
    assert figures.costs_figure(-2.0, 0.0, 0.1, 0.0).data[0].text[1:4] == ("0", "0", "0")


def test_vetoes_come_in_the_order_of_the_checks() -> None:
    drawn = figures.vetoes_figure({"vpin": 1, "drawdown": 1_200, "daily_loss": 0}).data[0]
    assert list(drawn.y) == ["daily loss", "drawdown", "VPIN"] and list(drawn.x) == [0, 1_200, 1]
    assert list(drawn.text) == ["0", "1,200", "1"]


def test_a_heat_map_cell_is_the_median_of_its_rows_and_says_so() -> None:
    drawn = figures.heatmap(grid(), "fast", "slow", "sharpe")
    cells = drawn.data[0]
    assert (list(cells.x), list(cells.y)) == (["5", "9"], ["21", "45"])
    assert np.allclose(cells.z, [[5 - 2.1 + 0.5, 9 - 2.1 + 0.5], [5 - 4.5 + 0.5, 9 - 4.5 + 0.5]])
    assert "median of 2" in cells.colorbar.title.text
    assert cells.zmin == -cells.zmax, "a signed metric is coloured about zero"


def test_a_heat_map_leaves_what_is_not_defined_blank() -> None:
    table = grid().query("depth == 0").assign(fills=[1.0, np.nan, 3.0, 4.0])
    cells = figures.heatmap(table, "fast", "slow", "fills").data[0]
    assert np.isnan(cells.z).sum() == 1 and cells.zmin is None
    assert "median" not in cells.colorbar.title.text


def test_a_heat_map_refuses_an_unknown_column() -> None:
    with pytest.raises(DataError, match=r"^heat map: no column 'fats', there are fast, slow, depth, sharpe$"):
        figures.heatmap(grid(), "fats", "slow", "sharpe")
