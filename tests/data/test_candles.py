"""Longer bars are made of whole buckets only, and equal the exchange's own."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flea_lab.data.candles import incomplete, resample
from flea_lab.data.frames import check_candles
from flea_lab.data.sources.files import read_candle_file
from flea_lab.data.synthetic import synth
from flea_lab.errors import DataError

Make = Callable[..., pd.DataFrame]
START = 1_735_689_600_000


def test_five_bars_make_one(make_bars: Make) -> None:
    frame = make_bars(5, buy_volume=[1.0, 2.0, 3.0, 4.0, 5.0])
    assert resample(frame, "1m", "5m").to_dict("records") == [
        {"ts": START, "open": 99.5, "high": 105.0, "low": 99.0, "close": 104.0, "volume": 60.0, "buy_volume": 15.0}
    ]


def test_a_bucket_that_misses_a_bar_stays_a_hole(make_bars: Make) -> None:
    frame = make_bars(17).drop(index=[7])
    found = resample(frame, "1m", "5m")
    assert list(found["ts"]) == [START, START + 600_000]
    assert incomplete(frame, "1m", "5m") == [(START + 300_000, 4), (START + 900_000, 2)]
    check_candles(found, "5m", "resampled")


def test_no_whole_bucket_is_an_empty_frame(make_bars: Make) -> None:
    assert resample(make_bars(4), "1m", "5m").empty


def test_a_slow_loop_says_the_same() -> None:
    frame = synth("gap", np.random.default_rng(3), 4_000)
    rows = []
    for bucket, part in frame.groupby(frame["ts"] // 900_000 * 900_000):
        if len(part) == 15:
            rows.append([bucket, part["open"].iloc[0], part["high"].max(), part["low"].min(), part["close"].iloc[-1]])
    found = resample(frame, "1m", "15m")
    assert found[["ts", "open", "high", "low", "close"]].to_numpy().tolist() == rows
    assert len(found) + len(incomplete(frame, "1m", "15m")) == frame["ts"].floordiv(900_000).nunique()


@pytest.mark.parametrize("to", ["1m", "5m", "1h"])
def test_only_a_longer_multiple_will_do(make_bars: Make, to: str) -> None:
    with pytest.raises(DataError, match=f"resample: {to} is not a multiple of 1h"):
        resample(make_bars(5, step=3_600_000), "1h", to)


def test_faulty_bars_are_not_summed(make_bars: Make) -> None:
    with pytest.raises(DataError, match=r"resample: row 2 .*: volume -1.0"):
        resample(make_bars(5, volume=[1.0, 1.0, -1.0, 1.0, 1.0]), "1m", "5m")


@pytest.mark.real_data
@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT", "SOLUSDT"])
def test_recorded_5m_bars_make_the_recorded_1h_bars(data_dir: Path, symbol: str) -> None:
    five = read_candle_file(data_dir / f"demo/candles/binance_spot_{symbol}_5m_20240101.parquet").frame
    hour = read_candle_file(data_dir / f"demo/candles/binance_spot_{symbol}_1h_20240101.parquet").frame
    found = resample(five, "5m", "1h")
    both = found.merge(hour, on="ts", suffixes=("", "_exchange"))
    assert len(both) == min(len(found), len(hour)) >= 5_980
    for name in ("open", "high", "low", "close"):
        assert (both[name] == both[f"{name}_exchange"]).all()
    # Twelve decimals summed in floats: a few units in the last place.
    np.testing.assert_allclose(both["volume"], both["volume_exchange"], rtol=1e-14)
