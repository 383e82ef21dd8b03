"""Bars out of prints: over when their time is over, none invented; longer ones equal to the whole-table resample."""

import math
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from flea_lab.data.candles import resample
from flea_lab.data.minutes import Longer, Minutes
from flea_lab.model.finding import Finding
from flea_lab.model.market import MS_NS, Candle, Side, Trade

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
T0 = 1_699_999_200 * SECOND  # on the hour


def at(second: float, price: float = 100.0, qty: float = 1.0, side: Side = "buy", kind: str = "normal") -> Trade:
    ts = T0 + int(second * SECOND)
    return Trade(symbol="X", ts_event=ts, ts_recv=ts + 7, price=price, qty=qty, side=side, kind=kind)  # type: ignore[arg-type]


def tell(told: tuple[Candle | Finding, ...]) -> list[str]:
    return [
        f"{one.kind} {one.detail}" if isinstance(one, Finding) else f"bar {(one.ts_event - T0) // MINUTE}"
        for one in told
    ]


def test_a_bar_is_told_by_the_first_print_after_its_close_and_never_before() -> None:
    minutes = Minutes("X", since_ns=T0)
    assert minutes.on(at(0, 100.0, 1.0)) == ()
    assert minutes.on(at(59.999, 103.0, 2.0, "sell")) == ()
    assert minutes.on(at(30, 99.0, 4.0)) == (), "out of order within its minute: the last to come is the close"
    assert minutes.forming is not None and not minutes.forming.complete
    (bar,) = minutes.on(at(60, 50.0))
    assert isinstance(bar, Candle)
    assert (bar.open, bar.high, bar.low, bar.close) == (100.0, 103.0, 99.0, 99.0)
    assert (bar.volume, bar.buy_volume, bar.ts_event, bar.complete) == (7.0, 5.0, T0 + MINUTE, True)
    assert minutes.forming is not None and minutes.forming.open == 50.0


def test_time_itself_ends_a_bar() -> None:
    minutes = Minutes("X", since_ns=T0)
    minutes.on(at(10))
    assert minutes.until(T0 + MINUTE - 1, T0 + MINUTE - 1) == ()
    assert tell(minutes.until(T0 + MINUTE, T0 + MINUTE)) == ["bar 1"]
    assert minutes.until(T0 + MINUTE, T0 + MINUTE) == ()


def test_a_minute_without_prints_is_a_hole_and_no_bar() -> None:
    minutes = Minutes("X", since_ns=T0)
    minutes.on(at(10))
    bar, hole = minutes.on(at(250))
    assert tell((bar, hole)) == ["bar 1", "hole no prints"]
    assert isinstance(hole, Finding)
    assert (hole.ts_from, hole.ts_to, hole.resolved) == (T0 + MINUTE, T0 + 4 * MINUTE, "no prints")


def test_a_late_print_is_named_and_changes_no_bar() -> None:
    minutes = Minutes("X", since_ns=T0)
    minutes.on(at(10))
    minutes.on(at(61))
    assert tell(minutes.on(at(59, 500.0))) == ["late_trade 1.0 at 500.0, 1.000 s after its bar was told"]
    (bar,) = minutes.on(at(121))
    assert isinstance(bar, Candle) and bar.high == 100.0


def test_the_minute_in_which_listening_began_and_one_that_lacks_prints_are_not_told() -> None:
    minutes = Minutes("X")
    minutes.on(at(20))
    assert minutes.forming is None
    assert tell(minutes.on(at(61))) == ["hole prints are missing"]
    minutes.missing(T0 + 70 * SECOND)
    minutes.on(at(80))
    assert tell(minutes.on(at(121))) == ["hole prints are missing"]
    assert tell(minutes.on(at(181))) == ["bar 3"]
    first = Minutes("X", since_ns=T0 + 90 * SECOND)
    first.on(at(95))
    assert tell(first.on(at(121)) + first.on(at(185))) == ["hole prints are missing", "bar 3"]


def test_prints_that_no_order_of_the_book_made_are_in_no_bar() -> None:
    minutes = Minutes("X", since_ns=T0)
    minutes.on(at(1))
    minutes.on(at(2, 500.0, kind="insurance"))
    (bar,) = minutes.on(at(61, 500.0, kind="liquidation"))
    assert isinstance(bar, Candle) and (bar.high, bar.volume) == (100.0, 1.0)
    assert tell(minutes.on(at(121))) == ["hole no prints"]


def some_minutes(count: int, seed: int, holes: int) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    gone = set(random.Random(seed).sample(range(count), holes))
    rows = [row for row in range(count) if row not in gone]
    low = draw.uniform(90, 95, count)[rows]
    frame = pd.DataFrame({"ts": [T0 // MS_NS + row * 60_000 for row in rows]})
    frame["open"], frame["high"] = low + draw.uniform(0, 5, len(rows)), low + 6
    frame["low"], frame["close"] = low, low + draw.uniform(0, 5, len(rows))
    frame["volume"] = draw.lognormal(0, 3, len(rows))
    frame["buy_volume"] = frame["volume"] * draw.uniform(0, 1, len(rows))
    return frame


def candles(frame: pd.DataFrame) -> list[Candle]:
    return [
        Candle(symbol="X", ts_event=(int(row.pop("ts")) + 60_000) * MS_NS, ts_recv=0, **row)
        for row in frame.to_dict("records")
    ]


def longer(frame: pd.DataFrame, to: str, step_ms: int) -> pd.DataFrame:
    made = Longer("X", "1m", to)
    bars = [one for candle in candles(frame) for one in made.on(candle) if isinstance(one, Candle)]
    columns = [name for name in frame if name != "ts"]
    rows = [(bar.ts_event // MS_NS - step_ms, *[getattr(bar, name) for name in columns]) for bar in bars]
    return pd.DataFrame(rows, columns=["ts", *columns])


@pytest.mark.parametrize(("to", "step_ms"), [("5m", 300_000), ("15m", 900_000), ("1h", 3_600_000)])
@pytest.mark.parametrize("holes", [0, 7])
def test_longer_bars_are_the_resampled_ones_bit_for_bit(to: str, step_ms: int, holes: int) -> None:
    frame = some_minutes(600, 1, holes)
    pd.testing.assert_frame_equal(longer(frame, to, step_ms), resample(frame, "1m", to), check_exact=True)


@pytest.mark.real_data
@pytest.mark.parametrize(("to", "step_ms"), [("5m", 300_000), ("1h", 3_600_000)])
def test_longer_bars_of_real_minutes_are_the_resampled_ones_bit_for_bit(data_dir: Path, to: str, step_ms: int) -> None:
    path = data_dir / "demo/candles/binance_um_BTCUSDT_1m_20250504.parquet"
    frame = pq.read_table(path).to_pandas()[["ts", "open", "high", "low", "close", "volume"]]
    pd.testing.assert_frame_equal(longer(frame, to, step_ms), resample(frame, "1m", to), check_exact=True)


def test_a_bucket_that_lacks_bars_is_a_hole_that_says_how_many_it_had() -> None:
    made = Longer("X", "1m", "5m")
    bars = candles(some_minutes(20, 3, 0))
    told = [one for bar in bars[:3] + bars[4:7] + bars[15:] for one in made.on(bar)]
    assert [one.detail for one in told if isinstance(one, Finding)] == ["4 of 5 bars", "2 of 10 bars"]
    assert [one.ts_event for one in told if isinstance(one, Candle)] == [T0 + 20 * MINUTE]
    assert (
        made.on(Candle(**{name: getattr(bars[0], name) for name in bars[0].__struct_fields__} | {"complete": False}))
        == ()
    )


def test_an_unknown_buy_volume_stays_unknown() -> None:
    frame = some_minutes(5, 1, 0).assign(buy_volume=math.nan)
    (bar,) = [one for candle in candles(frame) for one in [candle]][:1]
    assert math.isnan(bar.buy_volume)
    told = [one for made in [Longer("X", "1m", "5m")] for candle in candles(frame) for one in made.on(candle)]
    assert isinstance(told[0], Candle) and math.isnan(told[0].buy_volume)


def test_an_interval_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="1m is not a multiple of 5m"):
        Longer("X", "5m", "1m")
