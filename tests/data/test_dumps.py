"""The dumps that people have, each recognised by itself: of Binance, freqtrade, LEAN and ccxt."""

import io
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from flea_lab.data.candles import incomplete, resample
from flea_lab.data.dataset import Dataset
from flea_lab.data.quality import quality
from flea_lab.data.sources import prints
from flea_lab.data.sources.files import holds_funding, read_candle_file, read_funding
from flea_lab.errors import DataError

START = 1_735_689_600_000


def zipped(path: Path, member: str, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, text)
    return path


# ---- Binance


ROWS = ((0, "100.0", "101.5", "99.5", "101.0", "3.5", "1.5"), (1, "101.0", "102.0", "101.0", "101.5", "2.25", "0.25"))
HEADER = (
    "open_time,open,high,low,close,volume,"
    "close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n"
)


def klines(unit: int) -> str:
    """Two bars as Binance writes them, times in `unit`s of a millisecond."""
    lines = []
    for minute, *bar, bought in ROWS:
        opened = (START + minute * 60_000) * unit
        lines.append(f"{opened},{','.join(bar)},{opened + 60_000 * unit - 1},350.0,9,{bought},150.0,0\n")
    return "".join(lines)


@pytest.mark.parametrize("header", ["", HEADER])
@pytest.mark.parametrize(("unit", "name"), [(1, "ms"), (1_000, "us")])
def test_a_kline_zip_with_and_without_header_in_ms_and_us(tmp_path: Path, header: str, unit: int, name: str) -> None:
    folder = tmp_path / "data/futures/um/monthly/klines/BTCUSDT/1m"
    found = read_candle_file(zipped(folder / "BTCUSDT-1m-2025-01.zip", "BTCUSDT-1m-2025-01.csv", header + klines(unit)))
    assert found.dataset == Dataset("binance_um", "BTCUSDT", "1m") and found.time_unit == name
    assert found.frame.to_numpy().tolist() == [
        [START, 100.0, 101.5, 99.5, 101.0, 3.5, 1.5],
        [START + 60_000, 101.0, 102.0, 101.0, 101.5, 2.25, 0.25],
    ]


TRADED = (
    (7, "100.0", "0.1", 0, False),
    (8, "100.5", "0.2", 59_999, True),
    (9, "99.5", "0.00000001", 60_000, True),
    (11, "99.0", "1.0", 180_500, False),
)
BARS = [
    [START, 100.0, 100.5, 100.0, 100.5, 0.3, 0.1],
    [START + 60_000, 99.5, 99.5, 99.5, 99.5, 1e-08, 0.0],
    [START + 180_000, 99.0, 99.0, 99.0, 99.0, 1.0, 1.0],
]


def trades(what: str, header: bool, unit: int = 1) -> str:
    words = ("true", "false") if header else ("True", "False")
    lines = []
    for number, price, qty, after, maker in TRADED:
        said, ts = words[not maker], (START + after) * unit
        if what == "trades":
            lines.append(f"{number},{price},{qty},12.5,{ts},{said}" + ("" if header else ",True"))
        else:
            lines.append(f"{number},{price},{qty},{number},{number},{ts},{said}" + ("" if header else ",True"))
    named = {
        "trades": "id,price,qty,quote_qty,time,is_buyer_maker",
        "aggTrades": "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker",
    }
    return "\n".join(([named[what]] if header else []) + lines) + "\n"


@pytest.mark.parametrize("what", ["trades", "aggTrades"])
@pytest.mark.parametrize(("header", "unit"), [(True, 1), (False, 1), (False, 1_000)])
def test_a_zip_of_trades_is_bars_of_a_minute(tmp_path: Path, what: str, header: bool, unit: int) -> None:
    stem = f"BTCUSDT-{what}-2025-01-01"
    found = read_candle_file(zipped(tmp_path / f"{stem}.zip", f"{stem}.csv", trades(what, header, unit)), venue="v")
    assert found.dataset == Dataset("v", "BTCUSDT", "1m")
    assert found.frame.to_numpy().tolist() == BARS
    unit_name = {1: "ms", 1_000: "us"}[unit]
    assert found.notes[:2] == (
        f"1m bars made of 4 {what}, times in {unit_name}",
        f"1 {what} are missing by their numbers",
    )
    assert not holds_funding(tmp_path / f"{stem}.zip")


def test_bars_do_not_depend_on_where_a_block_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        f"{n},{100 + n % 13}.{n % 10},0.{n % 97 + 1:03d},1.0,{START + n * 700},{n % 3 == 0},True" for n in range(2_000)
    ]
    path = zipped(tmp_path / "X-trades-1.zip", "X-trades-1.csv", "\n".join(lines))
    whole = read_candle_file(path, venue="v")
    monkeypatch.setattr(prints, "BLOCK", 4_096)
    parts = read_candle_file(path, venue="v")
    assert len(whole.frame) == 24 and parts.frame.equals(whole.frame) and parts.sha256 == whole.sha256


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "1,100.0,1.0,1.0,1735689600000,True,True\n1,100.0,1.0,1.0,1735689600000,True,True\n",
            "row 1: its number is not",
        ),
        ("1,100.0,0.0,1.0,1735689600000,True,True\n", "row 0: qty 0.0 must be above 0"),
        (
            "1,100.0,1.0,1.0,1735689600000,True,True\n2,100.0,1.0,1.0,5,True,True\n",
            "row 1: time 5 is not in ms as row 0",
        ),
        (
            "1,100.0,1.0,1.0,1735689600001,True,True\n2,9.0,1.0,1.0,1735689600000,True,True\n",
            "row 1: time .* is before",
        ),
        ("1,100.0,1.0,1.0,5,True,True\n", "row 0: time 5 is no epoch"),
        ("1,x,1.0,1.0,1735689600000,True,True\n", "not a readable dump of trades"),
        ("1,2,3\n", "no header, and 3 columns are not Binance's"),
        ("id,price,time\n1,2,3\n", "no column qty, found id, price, time"),
    ],
)
def test_trades_that_cannot_be_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = zipped(tmp_path / "BTCUSDT-trades-2025-01.zip", "BTCUSDT-trades-2025-01.csv", text)
    with pytest.raises(DataError, match=rf"BTCUSDT-trades-2025-01\.zip.*{message}"):
        read_candle_file(path, venue="v")


def test_binance_s_funding_zip_is_funding(tmp_path: Path) -> None:
    text = f"calc_time,funding_interval_hours,last_funding_rate\n{START + 3},8,0.0001\n{START + 28_800_000},8,-0.0002\n"
    path = zipped(tmp_path / "data/futures/um/monthly/fundingRate/BTCUSDT-fundingRate-2025-01.zip", "f.csv", text)
    assert holds_funding(path)
    found = read_funding(path)
    assert found.venue == "binance_um" and found.columns["ts"] == "calc_time"
    assert found.frames["BTCUSDT"].to_numpy().tolist() == [[START, 0.0001], [START + 28_800_000, -0.0002]]


# ---- freqtrade


def feather(path: Path, **values: list[float]) -> Path:
    date = pd.date_range("2025-01-01", periods=2, freq=values.pop("freq", "1min"), tz="UTC")  # type: ignore[arg-type]
    columns = {name: [1.0, 2.0] for name in ("open", "high", "low", "close", "volume")} | values
    pd.DataFrame({"date": date, **columns}).to_feather(path)
    return path


def test_freqtrade_s_candles_and_its_funding_in_open(tmp_path: Path) -> None:
    candles = read_candle_file(feather(tmp_path / "BTC_USDT_USDT-1m-futures.feather"), venue="binance_um")
    assert candles.dataset == Dataset("binance_um", "BTCUSDT", "1m") and candles.frame["ts"].tolist()[0] == START
    path = tmp_path / "BTC_USDT_USDT-8h-funding_rate.feather"
    feather(path, freq="8h", open=[1e-4, -2e-4], high=[0.0, 0.0], low=[0.0, 0.0], close=[0.0, 0.0], volume=[0.0, 0.0])  # type: ignore[arg-type]
    assert holds_funding(path) and not holds_funding(tmp_path / "BTC_USDT_USDT-1m-futures.feather")
    found = read_funding(path, venue="binance_um")
    assert found.frames["BTCUSDT"].to_numpy().tolist() == [[START, 1e-4], [START + 28_800_000, -2e-4]]
    assert "freqtrade's funding: the rate is in open" in found.notes


def test_mark_prices_are_no_candles(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"BTC_USDT_USDT-1h-mark\.feather: prices of mark or index, not of trades"):
        read_candle_file(feather(tmp_path / "BTC_USDT_USDT-1h-mark.feather"), venue="binance_um")


# ---- LEAN


def test_lean_s_minutes_are_counted_from_the_date_in_the_name(tmp_path: Path) -> None:
    text = "0,100,101,99,100.5,7.5\n120000,100.5,102,100,101,2\n"
    tree = tmp_path / "crypto/coinbase/minute/btcusd/20250101_trade.zip"
    found = read_candle_file(zipped(tree, "20250101_btcusd_minute_trade.csv", text))
    assert found.dataset == Dataset("coinbase", "BTCUSD", "1m")
    assert found.frame.to_numpy().tolist() == [
        [START, 100, 101, 99, 100.5, 7.5],
        [START + 120_000, 100.5, 102, 100, 101, 2],
    ]
    flat = zipped(tmp_path / "cryptofuture_binance_hour_adausdt_trade.zip", "adausdt_trade_perp.csv",
                  "20250101 00:00,1,2,0.5,1.5,9\n20250101 01:00,1.5,2,1,2,8\n")  # fmt: skip
    future = read_candle_file(flat)
    assert (
        future.dataset == Dataset("binance_um", "ADAUSDT", "1h") and future.frame["ts"].tolist()[1] == START + 3_600_000
    )


def test_lean_s_equities_are_ten_thousandths_in_new_york(tmp_path: Path) -> None:
    path = tmp_path / "equity/usa/minute/spy/20250102_trade.zip"
    text = "34200000,5861234,5862000,5861000,5861500,1000\n"
    found = read_candle_file(zipped(path, "20250102_spy_minute_trade.csv", text))
    assert found.dataset == Dataset("usa", "SPY", "1m")
    nine_thirty = 1_735_828_200_000  # 2025-01-02T14:30Z
    assert found.frame.to_numpy().tolist() == [[nine_thirty, 586.1234, 586.2, 586.1, 586.15, 1000.0]]


def test_lean_s_seconds_become_minutes_and_its_quotes_are_refused(tmp_path: Path) -> None:
    text = "1000,10,11,9,10,1\n59000,10,12,10,11,2\n120000,11,11,11,11,4\n"
    path = zipped(tmp_path / "crypto_gdax_second_btcusd_20250101_trade.zip", "20250101_btcusd_second_trade.csv", text)
    found = read_candle_file(path)
    assert found.frame.to_numpy().tolist() == [[START, 10, 12, 9, 11, 3], [START + 120_000, 11, 11, 11, 11, 4]]
    assert "1m bars made of 3 bars of a second" in found.notes
    quotes = zipped(tmp_path / "crypto_gdax_minute_btcusd_20250101_quote.zip", "20250101_btcusd_minute_quote.csv",
                    "0,1,1,1,1,1,2,2,2,2,1\n")  # fmt: skip
    with pytest.raises(DataError, match=r"bars of bid and ask, not of trades: import LEAN's \.\.\._trade\.zip"):
        read_candle_file(quotes)
    odd = zipped(tmp_path / "a.zip", "20250101_btcusd_minute_trade.csv", "0,1,1\n")
    with pytest.raises(DataError, match=r"a\.zip: 3 columns, LEAN's bars of trades have 6"):
        read_candle_file(odd)


def test_lean_s_margin_interest_is_funding(tmp_path: Path) -> None:
    path = tmp_path / "cryptofuture_binance_margin_interest_adausdt.csv"
    path.write_text("20221213 00:00:00,0.00010000\n20221213 08:00:00,-0.00020000\n")
    assert holds_funding(path)
    found = read_funding(path, venue="binance_um").frames["ADAUSDT"]
    assert found.to_numpy().tolist() == [[1_670_889_600_000, 1e-4], [1_670_918_400_000, -2e-4]]


# ---- ccxt


@pytest.mark.parametrize("header", ["timestamp,open,high,low,close,volume\n", ""])
def test_ccxt_s_csv(tmp_path: Path, header: str) -> None:
    path = tmp_path / "BTC_USDT-1m.csv"
    path.write_text(f"{header}{START},1,2,0.5,1.5,9\n{START + 60_000},1.5,2,1,2,8\n")
    found = read_candle_file(path, venue="v")
    assert found.dataset == Dataset("v", "BTCUSDT", "1m") and found.frame["close"].tolist() == [1.5, 2.0]


# ---- recorded files, counted


LEAN = [
    ("crypto_coinbase_daily_btcusd_trade", Dataset("coinbase", "BTCUSD", "1d"), 1318),
    ("crypto_coinbase_minute_btcusd_20180404_trade", Dataset("coinbase", "BTCUSD", "1m"), 1007),
    ("crypto_coinbase_minute_ethusd_20180404_trade", Dataset("coinbase", "ETHUSD", "1m"), 1009),
    ("cryptofuture_bybit_minute_btcusdt_20221213_trade", Dataset("bybit_perp", "BTCUSDT", "1m"), 721),
    ("cryptofuture_dydx_minute_btcusd_20260101_trade", Dataset("dydx_perp", "BTCUSD", "1m"), 1410),
    ("cryptofuture_binance_hour_adausdt_trade", Dataset("binance_um", "ADAUSDT", "1h"), 24),
]


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "key", "rows"), LEAN)
def test_lean_s_own_files(data_dir: Path, name: str, key: Dataset, rows: int) -> None:
    path = data_dir / "fixtures" / "lean" / f"{name}.zip"
    found = read_candle_file(path)
    assert found.dataset == key and len(found.frame) == rows
    with zipfile.ZipFile(path) as archive:  # an independent reading: pandas, LEAN's documented columns
        want = pd.read_csv(io.BytesIO(archive.read(archive.namelist()[0])), header=None)
    assert (
        found.frame[["open", "high", "low", "close", "volume"]].to_numpy().tolist()
        == want[[1, 2, 3, 4, 5]].to_numpy(float).tolist()
    )
    state = quality(found.frame, key.interval)
    assert state.sound and state.bars + state.missing == state.expected
    ends = (found.frame["ts"].iloc[-1] - found.frame["ts"].iloc[0]) // {
        "1m": 60_000,
        "1h": 3_600_000,
        "1d": 86_400_000,
    }[key.interval]
    assert state.expected == ends + 1


@pytest.mark.real_data
def test_lean_s_seconds_and_quotes_and_margin_interest(data_dir: Path) -> None:
    lean = data_dir / "fixtures" / "lean"
    found = read_candle_file(lean / "crypto_coinbase_second_btcusd_20161007_trade.zip")
    assert "1m bars made of 4063 bars of a second" in found.notes and found.dataset.interval == "1m"
    with pytest.raises(DataError, match="bars of bid and ask"):
        read_candle_file(lean / "crypto_coinbase_minute_btcusd_20180404_quote.zip")
    interest = read_funding(lean / "cryptofuture_binance_margin_interest_adausdt.csv", venue="binance_um")
    assert interest.frames["ADAUSDT"].to_numpy().tolist() == [[1_670_889_600_000, 1e-4]]


DEMO = [
    ("binance_spot_BTCUSDT_1h_20240101", 5980), ("binance_spot_BTCUSDT_5m_20240101", 71769),
    ("binance_spot_ETHUSDT_1h_20240101", 5980), ("binance_spot_ETHUSDT_5m_20240101", 71769),
    ("binance_spot_SOLUSDT_1h_20240101", 6002), ("binance_spot_SOLUSDT_5m_20240101", 72028),
    ("binance_um_BNBUSDT_1m_20250504", 43199), ("binance_um_BTCUSDT_1m_20250504", 43199),
    ("binance_um_ETHUSDT_1m_20250504", 60191), ("binance_um_SOLUSDT_1m_20250504", 43200),
    ("binance_um_XRPUSDT_1m_20250504", 43199),
]  # fmt: skip


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "rows"), DEMO)
def test_the_candles_of_binance_are_whole(data_dir: Path, name: str, rows: int) -> None:
    found = read_candle_file(data_dir / "demo" / "candles" / f"{name}.parquet")
    state = quality(found.frame, found.dataset.interval)
    assert state.bars == rows == state.expected
    assert (len(state.holes), state.missing, len(state.zero_volume), state.sound) == (0, 0, 0, True)


@pytest.mark.real_data
def test_the_day_of_bitstamp_is_counted(data_dir: Path) -> None:
    path = data_dir / "fixtures" / "candles" / "bitstamp_btcusd_1m_20200101.csv.gz"
    found = read_candle_file(path)
    assert found.dataset == Dataset("bitstamp", "BTCUSD", "1m")
    raw = pd.read_csv(path)
    state = quality(found.frame, "1m")
    assert (state.bars, state.expected, state.missing, state.sound) == (1440, 1440, 0, True)
    assert sum(bars for _, bars in state.zero_volume) == int((raw["volume"] == 0).sum())


@pytest.mark.real_data
@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT", "SOLUSDT"])
def test_bars_made_of_5m_are_the_venue_s_1h_on_every_full_bar(data_dir: Path, symbol: str) -> None:
    folder = data_dir / "demo" / "candles"
    short = read_candle_file(folder / f"binance_spot_{symbol}_5m_20240101.parquet").frame
    theirs = read_candle_file(folder / f"binance_spot_{symbol}_1h_20240101.parquet").frame
    ours = resample(short, "5m", "1h")
    cut = {ts for ts, _ in incomplete(short, "5m", "1h")}
    both = ours.merge(theirs, on="ts", suffixes=("", "_theirs"))
    assert len(both) == len(theirs) - len(cut & set(theirs["ts"])) >= 5_979
    for name in ("open", "high", "low", "close"):
        assert both[name].tolist() == both[f"{name}_theirs"].tolist()
    assert both["volume"].tolist() == pytest.approx(both["volume_theirs"].tolist(), rel=1e-12)  # sums of decimals


@pytest.mark.real_data
@pytest.mark.parametrize("to", ["5m", "1h"])
def test_bars_made_of_1m_are_those_of_a_slow_loop_on_every_full_bar(data_dir: Path, to: str) -> None:
    frame = read_candle_file(data_dir / "demo" / "candles" / "binance_um_BTCUSDT_1m_20250504.parquet").frame
    length = {"5m": 5, "1h": 60}[to]
    ours = resample(frame, "1m", to).set_index("ts")
    buckets: dict[int, list[list[float]]] = {}
    for row in frame.to_numpy().tolist():
        buckets.setdefault(int(row[0]) // (length * 60_000) * length * 60_000, []).append(row)
    whole = {ts: rows for ts, rows in buckets.items() if len(rows) == length}
    assert list(ours.index) == list(whole)
    for ts, rows in whole.items():
        bar = ours.loc[ts]
        assert (bar["open"], bar["close"]) == (rows[0][1], rows[-1][4])
        assert (bar["high"], bar["low"]) == (max(r[2] for r in rows), min(r[3] for r in rows))
