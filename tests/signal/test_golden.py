"""What the signals compute equals other people's columns, after warm-up, to 1e-9 of its scale.

TA-Lib on recorded hours, Stock.Indicators on its own daily quotes, StockCharts' spreadsheets, and pandas where nobody
published the column. The spreadsheet of Wilder's RSI is left out: it begins with averages of 0 and ends before that is
forgotten. Averages are the kernels' own state; windows are the functions that kernels call.
"""

import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from flea_lab.data.synthetic import synth
from flea_lab.signal import parts
from flea_lab.signal.kernel import FIELDS, Floats
from flea_lab.signal.registry import builtin_kernels
from flea_lab.signal.rolling import deviation, highest, lowest, mean, push
from flea_lab.testing import law_bars

TOLERANCE = 1e-9
HOURS = "demo/candles/binance_spot_BTCUSDT_1h_20240101.parquet"
TA_LIB = "expected/talib_reference_BTCUSDT_1h.parquet"
STOCK_INDICATORS = "expected/stock_indicators_net_reference.parquet"
CHART_SCHOOL = "expected/stockcharts_chartschool_reference.zip"


@cache
def table(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path)


@cache
def sheet(path: Path, name: str) -> pd.DataFrame:
    with zipfile.ZipFile(path) as held, held.open(name) as file:
        return pd.read_csv(file)


def bars_of(closes: npt.ArrayLike, volumes: npt.ArrayLike = 1.0) -> Floats:
    bars = np.full((np.size(closes), len(FIELDS)), np.nan)
    for name in ("open", "high", "low", "close"):
        bars[:, FIELDS.index(name)] = closes
    bars[:, FIELDS.index("volume")] = volumes
    return bars


def fields(name: str, bars: Floats, wanted: tuple[str, ...], **values: object) -> list[Floats]:
    kernel = builtin_kernels()[name]
    params = kernel.load(values, "test")
    return list(kernel.fold(kernel.start(params), bars, params, wanted).T)


def averages(closes: npt.ArrayLike, fast: int, slow: int) -> tuple[Floats, Floats]:
    """Both averages of the momentum signal; none before it has `period` closes."""
    return parts.ema.over(closes, period=fast), parts.ema.over(closes, period=slow)


def rolled(values: npt.ArrayLike, size: int, function: Callable[[Floats], float]) -> Floats:
    """`function` of the last `size` values at every place; NaN before there are as many."""
    window, out = np.zeros(size), np.full(np.size(values), np.nan)
    for i, value in enumerate(np.asarray(values, np.float64)):
        push(window, value)
        if i >= size - 1:
            out[i] = function(window)
    return out


def spread(window: Floats) -> float:
    return deviation(window, mean(window))


def check(got: npt.ArrayLike, golden: npt.ArrayLike, warm: int, tolerance: float = TOLERANCE) -> None:
    """Equal from place `warm` on, to a share of the golden column's scale; at least 100 places are compared."""
    a, b = np.asarray(got, np.float64)[warm:], np.asarray(golden, np.float64)[warm:]
    assert len(a) == len(b) >= 100 and not np.isnan(b).any()
    worst = float(np.max(np.abs(a - b)) / np.max(np.abs(b)))
    assert worst <= tolerance, worst


@pytest.fixture
def hours(data_dir: Path) -> pd.DataFrame:
    """TA-Lib's columns beside the candles that they are of."""
    golden = table(data_dir / TA_LIB)
    candles = table(data_dir / HOURS).iloc[: len(golden)]
    assert (candles["ts"].to_numpy() == golden["ts"].to_numpy()).all()
    return golden.assign(
        close=candles["close"].to_numpy(), high=candles["high"].to_numpy(), low=candles["low"].to_numpy()
    )


@pytest.fixture
def days(data_dir: Path) -> pd.DataFrame:
    return table(data_dir / STOCK_INDICATORS)


@pytest.mark.real_data
def test_averages_equal_ta_lib(hours: pd.DataFrame) -> None:
    twenty, _ = averages(hours["close"], 20, 40)
    check(twenty, hours["EMA_20"], 19)
    fast, slow = averages(hours["close"], 12, 26)
    # TA-Lib seeds the fast one later: what is left of that after 400 bars is far below the tolerance
    check(fast - slow, hours["MACD_12_26_9.0"], 400)


@pytest.mark.real_data
def test_averages_equal_stock_indicators(days: pd.DataFrame) -> None:
    fast, slow = averages(days["close"], 12, 26)
    check(fast, days["macd.fastEma"], 11)
    check(slow, days["macd.slowEma"], 25)
    thirteen, twenty = averages(days["close"], 13, 20)
    check(thirteen, days["elder-ray.ema"], 12)
    check(twenty, days["ema.ema"], 19)


@pytest.mark.parametrize(("fast", "slow"), [(9, 21), (12, 26)])
def test_averages_equal_those_of_pandas(fast: int, slow: int) -> None:
    closes = law_bars(3_000)[:, FIELDS.index("close")]
    for period, got in zip((fast, slow), averages(closes, fast, slow), strict=True):
        seeded = pd.Series([closes[:period].mean(), *closes[period:]])
        check(got[period - 1 :], seeded.ewm(span=period, adjust=False).mean(), 0)
        # its own start is the first close: forgotten after some bars
        check(got, pd.Series(closes).ewm(span=period, adjust=False).mean(), 25 * period)


@pytest.mark.real_data
def test_averages_equal_the_spreadsheets(data_dir: Path) -> None:
    golden = sheet(data_dir / CHART_SCHOOL, "cs-macd.csv")
    fast, slow = averages(golden["Close"], 12, 26)
    # published to ten digits, begun with the first close: what is left of that start after n bars is (1 - k) ** n of it
    for got, name, period in ((fast, "short_ema", 12), (slow, "long_ema", 26)):
        start = float(golden["Close"][:period].std()) / float(golden[name].max())
        left = (1.0 - 2.0 / (period + 1.0)) ** np.arange(len(golden)) * start * 4
        gap = np.abs(got - golden[name].to_numpy()) / float(golden[name].max())
        assert (gap[period:] <= left[: -period or None][: len(gap) - period] + TOLERANCE).all()


@pytest.mark.real_data
def test_wilders_rsi_equals_ta_lib_and_stock_indicators(hours: pd.DataFrame, days: pd.DataFrame) -> None:
    for closes, golden in ((hours["close"], hours["RSI_14"]), (days["close"], days["rsi.rsi"])):
        [got] = fields("rsi_reversion", bars_of(closes), ("rsi",), averaging="wilder", period=14)
        check(got, golden, 15)


def simple_rsi(closes: pd.Series) -> pd.Series:
    moves = closes.diff()
    gain, loss = moves.clip(lower=0.0).rolling(14).mean(), (-moves).clip(lower=0.0).rolling(14).mean()
    return 100.0 - 100.0 / (1.0 + gain / loss)


def test_the_simple_rsi_equals_that_of_pandas() -> None:
    closes = synth("mixed", np.random.default_rng(5), 3_000)["close"]
    [got] = fields("rsi_reversion", bars_of(closes), ("rsi",), period=14)
    check(got, simple_rsi(closes), 15)


@pytest.mark.real_data
def test_the_simple_rsi_equals_that_of_pandas_on_recorded_hours(hours: pd.DataFrame) -> None:
    [got] = fields("rsi_reversion", bars_of(hours["close"]), ("rsi",), period=14)
    check(got, simple_rsi(hours["close"]), 15)


@pytest.mark.real_data
def test_windows_equal_ta_lib(hours: pd.DataFrame) -> None:
    closes = hours["close"]
    middle, width = rolled(closes, 20, mean), rolled(closes, 20, spread)
    check(middle, hours["SMA_20"], 19)
    # TA-Lib takes the difference of two sums of squares near 5e10 each: its last digits are not the deviation's
    check(width, hours["STDDEV_20"], 19, 1e-7)
    check(width, closes.rolling(20).std(ddof=0), 19)
    check(middle + 2 * width, hours["BBANDS_20_2.0"], 19)
    check(middle - 2 * width, hours["BBANDS_20_2.2"], 19)
    check(rolled(closes, 20, highest), hours["MAX_20"], 19)
    check(rolled(closes, 20, lowest), hours["MIN_20"], 19)


@pytest.mark.real_data
def test_windows_equal_stock_indicators(days: pd.DataFrame) -> None:
    closes = days["close"]
    middle, width = rolled(closes, 14, mean), rolled(closes, 14, spread)
    check(middle, days["stdev.mean"], 13)
    check(width, days["stdev.stdDev"], 13)
    check((closes - middle) / width, days["stdev.zScore"], 13)
    twenty, around = rolled(closes, 20, mean), rolled(closes, 20, spread)
    check(twenty, days["sma.sma"], 19)
    check(twenty + 2 * around, days["bb.upperBand"], 19)
    check((closes - twenty) / around, days["bb.zScore"], 19)


@pytest.mark.real_data
def test_windows_equal_the_spreadsheet(data_dir: Path) -> None:
    golden = sheet(data_dir / CHART_SCHOOL, "cs-bbands.csv")
    middle, width = rolled(golden["Close"], 20, mean), rolled(golden["Close"], 20, spread)
    for got, name in ((middle, "MiddleBand"), (width, "20-day Standard Deviation")):
        published = golden[name].to_numpy(np.float64)
        both = ~np.isnan(published)
        assert both.sum() >= 20
        assert np.abs(got - published)[both].max() <= 5e-7 * 1.01, "six places are published"


@pytest.mark.real_data
def test_the_momentum_score_equals_one_made_of_golden_averages(days: pd.DataFrame) -> None:
    bars = bars_of(days["close"], days["volume"])
    z, ratio = fields("ema_momentum", bars, ("z_score", "vol_ratio"), fast=12, slow=26, z_window=50, volume_window=20)
    apart = (days["macd.fastEma"] - days["macd.slowEma"]) / days["macd.slowEma"]
    window = apart.rolling(50)
    check(z, (apart - window.mean()) / (window.std(ddof=0) + 1e-8), 25 + 49)
    check(ratio, days["volume"] / days["volume"].rolling(20).mean(), 25 + 49)
