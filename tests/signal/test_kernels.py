"""Every kernel keeps the law and equals its reference; a new built-in kernel without a reference fails here."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from flea_lab.signal.kernel import FIELDS, Floats
from flea_lab.signal.registry import builtin_kernels
from flea_lab.testing import LAWS, check_kernel
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


REFERENCES = {f.__name__: f for f in (ema_momentum, rsi_reversion, tick_imbalance, vpin)}
OTHERS = {
    "ema_momentum": {"fast": 3, "slow": 40, "z_window": 7, "volume_window": 60, "z_scale": 0.5},
    "rsi_reversion": {"averaging": "wilder", "period": 5, "overbought": 60.0, "oversold": 45.0},
    "tick_imbalance": {"window": 1, "threshold": 0.0, "full_scale": 1.0},
    "vpin": {"bucket_volume": 7.5, "window": 3},
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
