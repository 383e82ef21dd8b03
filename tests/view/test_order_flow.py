"""Figures of order flow show what was known, leave blank what was not, and shade what the ledger says was wrong."""

import json

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from flea_lab.data.flow import Flow, FlowSettings, flow_frames, without
from flea_lab.sandbox.tape import synthetic_tape
from flea_lab.view import order_flow

SETTINGS = FlowSettings(bucket_volume=2.0, window=10)


@pytest.fixture(scope="module")
def flow() -> Flow:
    return flow_frames(synthetic_tape(minutes=6), "seed", "BTCUSDT", SETTINGS)


@pytest.fixture(scope="module")
def holed() -> Flow:
    return flow_frames(without(synthetic_tape(minutes=6), 100.0, 130.0), "seed", "BTCUSDT", SETTINGS)


def test_every_figure_is_small_and_of_its_frames(flow: Flow) -> None:
    for draw in (order_flow.book_figure, order_flow.flow_figure, order_flow.depth_figure, order_flow.funding_figure):
        figure = draw(flow)
        assert isinstance(figure, go.Figure) and figure.layout.width is None
        assert len(json.dumps(json.loads(figure.to_json()))) < 1_000_000
        assert figure.layout.shapes is not None


def test_the_heat_map_is_the_book(flow: Flow) -> None:
    heat, mid, bought, sold = order_flow.book_figure(flow).data
    assert heat.z.shape == (len(flow.levels.columns), len(flow.levels))
    at = 100
    seen = np.isfinite(heat.z[:, at])
    assert heat.z[seen, at].sum() == pytest.approx(flow.levels.iloc[at].sum())
    assert min(heat.y) < np.nanmin(mid.y) < np.nanmax(mid.y) < max(heat.y)
    assert len(bought.x) + len(sold.x) == order_flow.PRINTS_DRAWN


def test_volume_is_drawn_by_aggressor_and_none_is_lost(flow: Flow) -> None:
    spread, imbalance, bought, sold, vpin = order_flow.flow_figure(flow).data
    assert sum(bought.y) == pytest.approx(flow.seconds["buys"].sum())
    assert sum(sold.y) == pytest.approx(-flow.seconds["sells"].sum())
    assert np.nanmax(np.abs(imbalance.y)) <= 1.0 and np.nanmin(spread.y) > 0
    assert 0.0 <= np.nanmin(vpin.y) <= np.nanmax(vpin.y) <= 1.0


def test_depth_is_bid_above_and_offered_below(flow: Flow) -> None:
    traces = order_flow.depth_figure(flow).data
    assert [trace.name for trace in traces] == [f"within {bps} bps" for bps in (10, 10, 5, 5, 1, 1)]
    for bid, ask in zip(traces[::2], traces[1::2], strict=True):
        assert np.nanmin(bid.y) > 0 > np.nanmax(ask.y)


def test_funding_is_in_bps_and_its_settlement_is_marked(flow: Flow) -> None:
    figure = order_flow.funding_figure(flow)
    current, predicted = figure.data
    assert (current.name, predicted.name) == ("current", "predicted")
    assert current.y[-1] == pytest.approx(1e4 * flow.seconds["current_rate"].iloc[-1])
    [mark] = figure.layout.shapes
    assert pd.Timestamp(mark.x0, unit="ms") == pd.Timestamp("2025-01-01 07:59:59")


def test_an_outage_is_blank_and_a_lasting_fault_is_shaded_to_the_end(holed: Flow) -> None:
    heat = order_flow.book_figure(holed).data[0]
    assert np.isnan(heat.z[:, 115]).all() and np.isfinite(heat.z[:, 90]).any()
    begun = holed.ledger[:1].assign(ts_to=pd.Series([pd.NaT], dtype=holed.ledger["ts_to"].dtype))
    [mark] = order_flow.depth_figure(holed._replace(ledger=begun)).layout.shapes
    assert mark.x1 == holed.seconds["ts"].iloc[-1] and mark.x0 == begun["ts_from"][0].value / 1e6


def test_a_feed_without_anything_is_drawn_empty() -> None:
    empty = flow_frames([], "seed", "BTCUSDT")
    for draw in (order_flow.book_figure, order_flow.flow_figure, order_flow.depth_figure, order_flow.funding_figure):
        assert isinstance(draw(empty), go.Figure)
