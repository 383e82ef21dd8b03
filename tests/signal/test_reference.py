"""Signals, combination and size equal the slow reference, unrounded, at every bar."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from flea_lab.money import USD
from flea_lab.signal import parts
from flea_lab.signal.kernel import FIELDS, Bar, Floats, Stream
from flea_lab.signal.registry import builtin_kernels
from flea_lab.strategy.combine import combine
from flea_lab.strategy.sizing import intent_uusd, size_usd
from flea_lab.testing import law_bars
from tests.reference import slow

TOLERANCE = 1e-12
WEIGHTS = (1.0, 0.7)
EQUITY = 100_000.0

RECORDED = [
    "demo/candles/binance_um_BTCUSDT_1m_20250504.parquet",
    "demo/candles/binance_um_ETHUSDT_1m_20250504.parquet",
    "demo/candles/binance_spot_BTCUSDT_5m_20240101.parquet",
    "demo/candles/binance_spot_ETHUSDT_5m_20240101.parquet",
    "demo/candles/binance_spot_BTCUSDT_1h_20240101.parquet",
    "demo/candles/binance_spot_ETHUSDT_1h_20240101.parquet",
]


def error(got: npt.ArrayLike, expected: npt.ArrayLike) -> float:
    """The largest absolute difference; infinite where one is NaN and the other is not, or where nothing is compared."""
    a, b = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    if not np.array_equal(np.isnan(a), np.isnan(b)) or np.isnan(a).all():
        return np.inf
    return float(np.nanmax(np.abs(a - b)))


def folded(name: str, bars: Floats, fields: tuple[str, ...], **values: object) -> list[Floats]:
    kernel = builtin_kernels()[name]
    params = kernel.load(values, "test")
    return list(kernel.fold(kernel.start(params), bars, params, fields).T)


def errors(bars: Floats) -> dict[str, float]:
    """Largest absolute error of every value that is decided on, over all bars."""
    closes, volumes = bars[:, FIELDS.index("close")], bars[:, FIELDS.index("volume")]
    ema = folded("ema_momentum", bars, ("direction", "confidence", "z_score", "vol_ratio"))
    rsi = folded("rsi_reversion", bars, ("direction", "confidence", "rsi"))
    wilder = folded("rsi_reversion", bars, ("direction", "confidence", "rsi"), averaging="wilder")
    ema_slow = slow.ema_momentum(closes, volumes)
    rsi_slow = slow.rsi_reversion(closes)
    wilder_slow = slow.rsi_wilder(closes)
    found = {}
    for name, got, expected in (("ema", ema, ema_slow), ("rsi", rsi, rsi_slow), ("wilder", wilder, wilder_slow)):
        for field, a, b in zip(("direction", "confidence", "value", "vol_ratio"), got, expected, strict=False):
            found[f"{name} {field}"] = error(a, b)
    opinions = np.stack([np.stack(ema[:2], 1), np.stack(rsi[:2], 1)], 1)
    conviction = np.array([combine(np.ascontiguousarray(one), np.array(WEIGHTS), 0.3) for one in opinions])
    slowly = slow.combine((ema_slow[0], rsi_slow[0]), (ema_slow[1], rsi_slow[1]), WEIGHTS)
    found["conviction"] = error(conviction, slowly)
    acted = [i for i, c in enumerate(slowly) if slow.has_intent(c)]
    # as a share of equity: the floats next to 10,000 USD are 1.8e-12 apart
    sizes = [size_usd(round(EQUITY * USD), 0.1, conviction[i]) / EQUITY for i in acted]
    found["size"] = error(sizes, [slow.size_usd_unrounded(EQUITY, 0.1, slowly[i]) / EQUITY for i in acted])
    intents = [intent_uusd(0, round(EQUITY * USD), 0.1, 0.0, c, 0.15, 0) for c in conviction]
    assert [i for i, size in enumerate(intents) if size != 0] == acted
    assert [slow.side(slowly[i]) for i in acted] == ["buy" if intents[i] > 0 else "sell" for i in acted]
    assert len(acted) > len(bars) / 200, "the comparison of sizes would be empty"
    return found


@cache
def recorded(path: Path) -> Floats:
    frame = pd.read_parquet(path)
    bars = np.full((len(frame), len(FIELDS)), np.nan)
    for column, name in enumerate(FIELDS[:5]):
        bars[:, column] = frame[name].to_numpy(np.float64)
    return bars


def trades(buy: npt.ArrayLike, sell: npt.ArrayLike) -> Floats:
    """Items of flow as bars, shape `(n_items, 7)`; their price is nobody's concern."""
    bought, sold = np.asarray(buy, np.float64), np.asarray(sell, np.float64)
    bars = np.full((len(bought), len(FIELDS)), np.nan)
    bars[:, FIELDS.index("volume")], bars[:, FIELDS.index("buy_volume")] = bought + sold, bought
    return bars


@pytest.mark.real_data
@pytest.mark.parametrize("file", RECORDED, ids=lambda file: "_".join(Path(file).stem.split("_")[1:4]))
def test_every_recorded_bar_equals_the_slow_reference(data_dir: Path, file: str) -> None:
    found = errors(recorded(data_dir / file))
    assert max(found.values()) <= TOLERANCE, found


def test_every_synthetic_bar_equals_the_slow_reference() -> None:
    found = errors(law_bars(6_000))
    assert max(found.values()) <= TOLERANCE, found


@pytest.mark.parametrize(("window", "threshold", "full_scale"), [(50, 0.2, 0.6), (7, 0.0, 1.0), (1, 0.5, 0.9)])
def test_tick_imbalance_equals_the_slow_reference(window: int, threshold: float, full_scale: float) -> None:
    bars = law_bars(3_000)
    fields = ("direction", "confidence", "imbalance")
    values = {"window": window, "threshold": threshold, "full_scale": full_scale}
    got = folded("tick_imbalance", bars, fields, **values)
    bought = bars[:, FIELDS.index("buy_volume")]
    expected = slow.tick_imbalance(bought, bars[:, FIELDS.index("volume")] - bought, window, full_scale, threshold)
    assert [error(a, b) <= TOLERANCE for a, b in zip(got, expected, strict=True)] == [True, True, True]


def cases(data_dir: Path) -> Any:
    return json.loads((data_dir / "expected/vpin_cases.json").read_text())


@pytest.mark.real_data
@pytest.mark.parametrize("position", [0, 1, 2])
def test_vpin_equals_the_golden_hand_cases(data_dir: Path, position: int) -> None:
    case = cases(data_dir)["hand_cases"][position]
    bars, n = trades(case["buy"], case["sell"]), case["window"]
    volume = bars[:, FIELDS.index("volume")]
    # the third case has items of 300 and of 900: the last n items are then more than n buckets of 300
    for last, expected in enumerate(case["expected_from_index_3"], 3):
        window = round(volume[last - n + 1 : last + 1].sum() / volume[0])
        [got] = folded("vpin", bars[: last + 1], ("vpin",), bucket_volume=float(volume[0]), window=window)
        assert np.isnan(got[:last]).sum() >= min(last, n - 1)
        assert error(got[last:], [expected]) <= TOLERANCE


@pytest.mark.real_data
def test_vpin_equals_the_golden_tape_trade_by_trade(data_dir: Path) -> None:
    case = cases(data_dir)["tape_case"]
    tape = pd.read_parquet(data_dir / case["tape"])
    tape = tape[tape["kind"] == "MARKET"]
    qty, is_buy = tape["qty"].to_numpy(np.float64), ~tape["is_buyer_maker"].to_numpy(bool)
    bars = trades(np.where(is_buy, qty, 0.0), np.where(is_buy, 0.0, qty))
    values = {"bucket_volume": case["bucket_volume"], "window": case["window"]}
    got, buckets = folded("vpin", bars, ("vpin", "buckets"), **values)
    expected = slow.vpin(np.where(is_buy, qty, 0.0), np.where(is_buy, 0.0, qty), *values.values())
    assert error(got, expected) <= TOLERANCE
    assert buckets[-1] == case["n_buckets"]
    # a trade of several buckets shows the last of them only: for the mean each bucket is an item of its own
    whole = slow.volume_buckets(np.where(is_buy, qty, 0.0), np.where(is_buy, 0.0, qty), case["bucket_volume"])
    by_bucket = trades([float(bought) for _, bought, _ in whole], [float(sold) for _, _, sold in whole])
    [each] = folded("vpin", by_bucket, ("vpin",), **values)
    ready = each[~np.isnan(each)]
    golden = [case[name] for name in ("vpin_first", "vpin_last", "vpin_mean", "vpin_max")]
    assert error([ready[0], got[-1], ready.mean(), ready.max()], golden) <= TOLERANCE


def test_vpin_counts_what_one_huge_item_fills() -> None:
    # 3 buckets of 1 are full, 0.5 is open; a sale of 10**6 + 0.25 completes a million more
    bars = trades([1.0, 1.0, 1.5, 0.0], [0.0, 0.0, 0.0, 1e6 + 0.25])
    got, buckets, filled = folded("vpin", bars, ("vpin", "buckets", "filled"), bucket_volume=1.0, window=3)
    assert np.isnan(got[:2]).all()
    assert got[2:].tolist() == [1.0, 1.0]
    assert (buckets[-1], filled[-1]) == (1_000_003.0, 0.75)


@pytest.mark.parametrize("bucket_volume", [5e-324, 1e-9, 1e12])
def test_vpin_ends_on_any_item(bucket_volume: float) -> None:
    kernel = builtin_kernels()["vpin"]
    stream = Stream(kernel, kernel.load({"bucket_volume": bucket_volume, "window": 3}, "test"))
    for volume in (1.0, 1e18, 1e300, np.inf, np.nan, 1.0):
        value = stream.on(Bar(1.0, 1.0, 1.0, 1.0, volume, volume / 2, 0.0)).vpin
        assert np.isnan(value) or 0.0 <= value <= 1.0


@pytest.mark.real_data
def test_the_average_and_wilders_rsi_equal_ta_lib(data_dir: Path) -> None:
    table = pd.read_parquet(data_dir / "expected/talib_reference_BTCUSDT_1h.parquet")
    bars = recorded(data_dir / RECORDED[4])[: len(table)]
    closes = bars[:, FIELDS.index("close")]
    got = parts.ema.over(closes, period=20)
    # relative: the prices are near 50,000, whose neighbouring floats are 7e-12 apart
    assert error(got / closes, table["EMA_20"].to_numpy() / closes) <= TOLERANCE
    [rsi] = folded("rsi_reversion", bars, ("rsi",), averaging="wilder", period=14)
    # TA-Lib speaks one bar before the brief's warm-up of period + 2 ends; RSI points, of which there are 100
    assert error(rsi[15:], table["RSI_14"].to_numpy()[15:]) <= 100 * TOLERANCE
