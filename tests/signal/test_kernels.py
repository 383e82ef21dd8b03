"""Every kernel keeps the law and equals its reference; a new built-in kernel without a reference fails here."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from flea_lab.signal.kernel import FIELDS, N_FEATURES, N_PLAIN, Floats
from flea_lab.signal.registry import builtin_kernels
from flea_lab.testing import LAWS, check_kernel, law_bars
from tests.reference import slow

CLOSE, VOLUME, BOUGHT = (FIELDS.index(name) for name in ("close", "volume", "buy_volume"))


def ema_momentum(bars: Floats, p: Any) -> Mapping[str, Floats]:
    found = slow.ema_momentum(bars[:, CLOSE], bars[:, VOLUME], p.fast, p.slow, p.z_window, p.volume_window, p.z_scale)
    return dict(zip(("direction", "confidence", "z_score", "vol_ratio"), found, strict=True))


def rsi_reversion(bars: Floats, p: Any) -> Mapping[str, Floats]:
    found = slow.rsi_reversion(bars[:, CLOSE], p.period, p.overbought, p.oversold, p.averaging)
    return dict(zip(("direction", "confidence", "rsi"), found, strict=True))


def tick_imbalance(bars: Floats, p: Any) -> Mapping[str, Floats]:
    bought, sold = bars[:, BOUGHT], bars[:, VOLUME] - bars[:, BOUGHT]
    found = slow.tick_imbalance(bought, sold, p.window, p.full_scale, p.threshold)
    return dict(zip(("direction", "confidence", "imbalance"), found, strict=True))


def vpin(bars: Floats, p: Any) -> Mapping[str, Floats]:
    # whole lots of 0.001: what the exact reference must see as decimals
    bought = np.round(bars[:, BOUGHT], 3)
    return {"vpin": slow.vpin(bought, np.round(bars[:, VOLUME] - bars[:, BOUGHT], 3), p.bucket_volume, p.window)}


def column(bars: Floats, name: str) -> Floats:
    return bars[:, FIELDS.index(name)]


def book_imbalance(bars: Floats, p: Any) -> Mapping[str, Floats]:
    found = slow.book_imbalance(column(bars, "imbalance"), p.window, p.threshold, p.full_scale)
    return dict(zip(("direction", "confidence", "depth_imbalance"), found, strict=True))


def spread_regime(bars: Floats, p: Any) -> Mapping[str, Floats]:
    found = slow.spread_regime(bars[:, CLOSE], column(bars, "spread_bps"), p.window, p.wide, p.full, p.full_move)
    return dict(zip(OPINION, found, strict=True))


def funding_carry(bars: Floats, p: Any) -> Mapping[str, Floats]:
    rates = [column(bars, f"{name}_rate") for name in ("funding", "current", "predicted")]
    hours = column(bars, "hours_to_funding")
    found = slow.funding_carry(*rates, hours, p.hold, p.round_trip_bps, p.full_bps, p.interval_h, p.wait_h)
    return dict(zip(OPINION, found, strict=True))


def trade_tick_imbalance(bars: Floats, p: Any) -> Mapping[str, Floats]:
    flow = column(bars, "trades"), column(bars, "trade_imbalance")
    return dict(zip(OPINION, slow.trade_tick_imbalance(*flow, p.window, p.threshold, p.full_scale), strict=True))


def toxic_flow(bars: Floats, p: Any) -> Mapping[str, Floats]:
    flow = column(bars, "vpin"), column(bars, "trades"), column(bars, "trade_imbalance")
    return dict(zip(OPINION, slow.toxic_flow(*flow, p.window, p.toxic, p.full, p.full_flow), strict=True))


OPINION = ("direction", "confidence")
FEATURED = (book_imbalance, spread_regime, funding_carry, trade_tick_imbalance, toxic_flow)
REFERENCES = {f.__name__: f for f in (ema_momentum, rsi_reversion, tick_imbalance, vpin, *FEATURED)}
OTHERS = {
    "ema_momentum": {"fast": 3, "slow": 40, "z_window": 7, "volume_window": 60, "z_scale": 0.5},
    "rsi_reversion": {"averaging": "wilder", "period": 5, "overbought": 60.0, "oversold": 45.0},
    "tick_imbalance": {"window": 1, "threshold": 0.0, "full_scale": 1.0},
    "vpin": {"bucket_volume": 7.5, "window": 3},
    "book_imbalance": {"window": 1, "threshold": 0.0, "full_scale": 1.0},
    "spread_regime": {"window": 9, "wide": 0.0, "full": 2.0, "full_move": 1.5},
    "funding_carry": {"hold": 1, "round_trip_bps": 0.0, "full_bps": 3.0, "interval_h": 4.0, "wait_h": 5.0},
    "trade_tick_imbalance": {"window": 1, "threshold": 0.0, "full_scale": 1.0},
    "toxic_flow": {"window": 3, "toxic": 0.0, "full": 1.0, "full_flow": 1.0},
}


@pytest.mark.parametrize("name", sorted(builtin_kernels()))
@pytest.mark.parametrize("values", ["defaults", "others"])
def test_every_built_in_kernel_keeps_the_law_and_equals_its_reference(name: str, values: str) -> None:
    kernel = builtin_kernels()[name]
    params = kernel.load(OTHERS[name] if values == "others" else {}, "test")
    report = check_kernel(kernel, params, reference=REFERENCES[name])
    assert report.laws == LAWS
    assert report.n_bars >= 1_500
    assert report.opinions > 50
    assert report.limits_tried > 2 * len(kernel.params.__struct_fields__)


@pytest.mark.parametrize("reference", FEATURED, ids=lambda f: f.__name__)
def test_a_feature_that_is_not_known_is_no_opinion(reference: Any) -> None:
    kernel = builtin_kernels()[reference.__name__]
    bars, params = law_bars(600), kernel.load({}, "test")
    holes = np.random.default_rng(3).random((600, N_FEATURES)) < 0.04
    bars[:, N_PLAIN:][holes] = np.nan
    opinions = kernel.fold(kernel.start(params), bars, params)
    warm = kernel.warmup(params) - 1 if kernel.warmup else 0
    assert np.isnan(opinions[:warm]).all()
    assert not np.isnan(opinions[warm:]).any()
    expected = reference(bars, params)
    for k, name in enumerate(OPINION):
        assert np.allclose(opinions[:, k], expected[name], rtol=0.0, atol=1e-12, equal_nan=True)
    last = np.isnan(bars[:, [FIELDS.index(name) for name in kernel.inputs]]).any(axis=1)
    assert (opinions[warm:][last[warm:]] == 0.0).all()
