"""Tapes described, checked, cut, merged and converted: what goes in comes out, in order, and faults have names."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from flea_lab.data.sources.captures import read_capture
from flea_lab.data.tape import Note, RawFrame, Record, TapeWriter, beginning, read_records, read_tape
from flea_lab.data.tape_check import check_tape
from flea_lab.data.tape_convert import candles_of_tape, tape_of_capture, trades_to_parquet
from flea_lab.data.tape_cut import merge_tapes, slice_tape
from flea_lab.data.tape_events import TapeEvents
from flea_lab.data.tape_facts import TapeClock, describe
from flea_lab.errors import DataError
from flea_lab.model.market import BookSnapshot, Candle, Funding, Heartbeat, Trade
from flea_lab.model.vouched import Vouched

S = 1_000_000_000
T0 = 1_735_689_600 * S  # a whole minute
MIN = 60 * S


def trade(at_s: float, number: int | None = None, symbol: str = "X", price: float = 100.0, side: str = "buy") -> Trade:
    ts = T0 + round(at_s * S)
    return Trade(symbol=symbol, ts_event=ts, ts_recv=ts + 5, price=price, qty=0.5, side=side, trade_id=number)  # type: ignore[arg-type]


def candle(minute: int, close: float = 100.0, symbol: str = "X", complete: bool = True) -> Candle:
    """The bar that closes `minute` minutes after the start."""
    ts = T0 + minute * MIN
    return Candle(
        symbol=symbol, ts_event=ts, ts_recv=ts + 7, open=close, high=close, low=close, close=close, volume=1.0,
        buy_volume=0.5, complete=complete,
    )  # fmt: skip


def book(at_s: float, seq: int) -> BookSnapshot:
    ts = T0 + round(at_s * S)
    return BookSnapshot(symbol="X", ts_event=ts, ts_recv=ts + 5, seq=seq, bids=((99.0, 1.0),), asks=((101.0, 1.0),))


def write(path: Path, records: list[Record]) -> Path:
    tape = TapeWriter(path)
    for record in records:
        tape.append(record)
    tape.close()
    return path


BEGUN = Note(T0, "begin", beginning("purpleflea-seed", "1m", ("X", "Y")))


def raw(event: Trade | Candle, text: bytes = b"{}") -> RawFrame:
    return RawFrame(event.ts_recv, text, event.ts_event)


RECORDS: list[Record] = [
    BEGUN,
    RawFrame(T0 + 1, b'{"event":"subscribed"}'),
    Note(T0 + 2, "up", ""),
    raw(trade(1, 1)),
    trade(1, 1),
    book(2, 1),
    trade(30, 1, "Y"),
    raw(candle(1)),
    candle(1),
    Heartbeat(ts_event=T0 + MIN),
    Funding(symbol="X", ts_event=T0 + MIN, ts_recv=T0 + MIN + 9, rate=1e-4),
    trade(61, 2),
    candle(2),
    Heartbeat(ts_event=T0 + 2 * MIN),
    Note(T0 + 2 * MIN + 9, "end", "over"),
]


def test_the_facts_of_a_tape(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tape", RECORDS)
    with path.open("ab") as file:
        file.write(b"torn")
    facts = describe(path)
    assert (facts.records, facts.torn, facts.format, facts.downs, facts.faults) == (15, 4, 2, 0, 0)
    assert (facts.venue, facts.interval, facts.size) == ("purpleflea-seed", "1m", path.stat().st_size)
    assert facts.counts[("trades", "X")] == 2 and facts.counts[("frame", "")] == 3 and facts.counts[("note", "")] == 3
    assert (facts.first_event_ns, facts.last_event_ns) == (T0 + S, T0 + 2 * MIN)
    assert (facts.first_recv_ns, facts.last_recv_ns) == (T0, T0 + 2 * MIN + 9)


def test_a_sound_tape_is_sound_and_a_torn_end_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tape", RECORDS)
    found = check_tape(path)
    assert found.sound and found.findings == {} and found.silent == 1
    with path.open("ab") as file:
        file.write(b"x" * 20)
    assert not check_tape(path).sound and check_tape(path).facts.torn == 20


@pytest.mark.parametrize(
    ("faulty", "where"),
    [
        ([trade(1, 1), trade(2, 2), trade(2, 2)], ("trades", "duplicate")),
        ([candle(1), candle(3)], ("candles", "hole")),
        ([candle(1), candle(1, 101.0)], ("candles", "late_correction")),
        ([trade(1, 1, price=100.0), trade(2, 2, price=500.0)], ("trades", "spike")),
    ],
)
def test_every_fault_on_a_tape_has_its_name(tmp_path: Path, faulty: list[Record], where: tuple[str, str]) -> None:
    found = check_tape(write(tmp_path / "a.tape", [BEGUN, *faulty]))
    assert found.findings[where] == 1 and not found.sound
    assert (found.rows[-1].channel, found.rows[-1].kind) == where


@pytest.mark.parametrize(("venue", "sound"), [("ccxt:bybit", True), ("purpleflea-seed", False), ("", False)])
def test_the_books_of_a_venue_through_ccxt_are_judged_as_snapshots(tmp_path: Path, venue: str, sound: bool) -> None:
    bids, asks = (tuple((100.0 + way * (n + 1), 1.0) for n in range(25)) for way in (-1, 1))
    book = BookSnapshot(symbol="X", ts_event=T0, ts_recv=T0, seq=7, bids=bids, asks=asks)
    begun = [Note(T0, "begin", beginning(venue, "1m", ("X",)))] if venue else []
    path = write(tmp_path / "a.tape", [*begun, book])
    found = check_tape(path)
    assert found.sound is sound and found.findings.get(("book", "too_many_levels"), 0) == (not sound)
    told = [one for one in TapeEvents(write(path, [trade(1)]), ("X",), "1m") if isinstance(one, Vouched)]
    assert len(told) == sound


def test_records_and_heartbeats_that_go_back_in_time_are_counted(tmp_path: Path) -> None:
    records: list[Record] = [trade(2), trade(1), Heartbeat(ts_event=9), Heartbeat(ts_event=8)]
    found = check_tape(write(tmp_path / "a.tape", records))
    assert (found.backwards, found.heartbeats_back, found.sound) == (1, 1, False)


def test_a_slice_has_what_was_asked_for_with_its_frames_and_every_note(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tape", RECORDS)
    slice_tape(path, tmp_path / "x.tape", symbols=("X",), channels=("trades",))
    assert list(read_records(tmp_path / "x.tape")) == [
        BEGUN, Note(T0 + 2, "up", ""), raw(trade(1, 1)), trade(1, 1), trade(61, 2), RECORDS[-1],
    ]  # fmt: skip
    count = slice_tape(path, tmp_path / "t.tape", start_ns=T0 + MIN, end_ns=T0 + 2 * MIN)
    assert list(read_records(tmp_path / "t.tape")) == RECORDS[7:12] and count == 5


def test_slices_laid_together_are_the_tape(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tape", RECORDS)
    found: list[Record] = []
    edges = [None, T0 + 30 * S, T0 + MIN, T0 + MIN + 30 * S, None]
    for n in range(len(edges) - 1):
        slice_tape(path, tmp_path / f"{n}.tape", start_ns=edges[n], end_ns=edges[n + 1])
        found += read_records(tmp_path / f"{n}.tape")
    assert found == RECORDS


def test_a_slice_that_cannot_be_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tape", RECORDS)
    with pytest.raises(DataError, match="channel 'orders' must be among candle, book"):
        slice_tape(path, tmp_path / "b.tape", channels=("orders",))
    with pytest.raises(DataError, match=r"start \(5\) must be before end \(5\)"):
        slice_tape(path, tmp_path / "b.tape", start_ns=5, end_ns=5)
    with pytest.raises(DataError, match=r"a\.tape is there already"):
        slice_tape(path, path)
    (tmp_path / "no.tape").write_bytes(b"fleatp9\n")
    with pytest.raises(DataError, match=r"no\.tape is not a tape"):
        slice_tape(tmp_path / "no.tape", tmp_path / "b.tape")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.tape", "no.tape"]


def test_a_merge_is_in_order_of_time_and_of_one_instant_in_the_order_of_the_files(tmp_path: Path) -> None:
    one = write(tmp_path / "1.tape", [trade(1, 1), trade(3, 2), Heartbeat(ts_event=T0 + 3 * S), trade(5, 3)])
    two = write(tmp_path / "2.tape", [trade(2, 1, "Y"), raw(trade(3, 2, "Y")), trade(3, 2, "Y"), trade(4, 3, "Y")])
    assert merge_tapes([one, two], tmp_path / "m.tape") == 8
    merged = list(read_records(tmp_path / "m.tape"))
    assert merged == [
        trade(1, 1), trade(2, 1, "Y"), trade(3, 2), Heartbeat(ts_event=T0 + 3 * S), raw(trade(3, 2, "Y")),
        trade(3, 2, "Y"), trade(4, 3, "Y"), trade(5, 3),
    ]  # fmt: skip
    merge_tapes([two, one], tmp_path / "n.tape")
    other = list(read_records(tmp_path / "n.tape"))
    assert other[2:4] == [raw(trade(3, 2, "Y")), trade(3, 2, "Y")] and sorted(map(str, other)) == sorted(
        map(str, merged)
    )
    merge_tapes([one, two], tmp_path / "again.tape")
    assert (tmp_path / "again.tape").read_bytes() == (tmp_path / "m.tape").read_bytes()
    with pytest.raises(DataError, match="merge takes two tapes or more, each once; 2 given"):
        merge_tapes([one, one], tmp_path / "o.tape")


def test_the_clock_of_a_tape_never_goes_back() -> None:
    clock = TapeClock("event")
    records: list[Record] = [trade(5), trade(4), Note(T0 + 99 * S, "up"), candle(9, complete=False), trade(6)]
    assert [(clock.at(record) - T0) // S for record in records] == [5, 5, 5, 5, 6]
    clock = TapeClock("recv")
    assert [clock.at(trade(5)), clock.at(Heartbeat(ts_event=1))] == [T0 + 5 * S + 5] * 2


def test_the_candles_of_a_tape_are_the_complete_ones_each_once(tmp_path: Path) -> None:
    records = [BEGUN, candle(1, 9.0, complete=False), candle(1), candle(1), candle(2, 101.0), candle(2, 102.0)]
    found = candles_of_tape(write(tmp_path / "a.tape", [*records, *RECORDS[10:11]]))
    assert found.frames["X"]["close"].tolist() == [100.0, 101.0] and found.differing == 1 and found.made == ()
    assert found.frames["X"]["ts"].tolist() == [T0 // 10**6, T0 // 10**6 + 60_000]
    assert found.funding["X"].to_numpy().tolist() == [[T0 // 10**6 + 60_000, 1e-4]]


def test_longer_candles_are_made_of_the_tape_s_own_and_only_of_whole_buckets(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tape", [BEGUN, *(candle(minute, 100.0 + minute) for minute in range(1, 13))])
    found = candles_of_tape(path, "5m").frames["X"]
    assert found["close"].tolist() == [105.0, 110.0] and found["volume"].tolist() == [5.0, 5.0]


PRINTS = [trade(s, n, price=100.0 + s / 10, side="buy" if n % 2 else "sell") for n, s in enumerate(range(-5, 200, 7))]


def bars_by_hand(trades: list[Trade], skip: set[int]) -> dict[int, list[float]]:
    found: dict[int, list[Trade]] = {}
    for one in trades:
        found.setdefault((one.ts_event - T0) // MIN, []).append(one)
    return {
        minute: [
            mine[0].price, max(t.price for t in mine), min(t.price for t in mine), mine[-1].price,
            sum(t.qty for t in mine), sum(t.qty for t in mine if t.side == "buy"),
        ]
        for minute, mine in found.items() if minute not in skip
    }  # fmt: skip


def test_without_candles_bars_are_made_of_prints_but_not_the_first_and_the_unfinished_one(tmp_path: Path) -> None:
    found = candles_of_tape(write(tmp_path / "a.tape", [BEGUN, *PRINTS]))
    want = bars_by_hand(PRINTS, {-1, 3})
    frame = found.frames["X"]
    assert found.made == ("X",)
    assert [(ts - T0 // 10**6) // 60_000 for ts in frame["ts"]] == list(want)
    assert frame.drop(columns="ts").to_numpy().tolist() == list(want.values())


def test_a_bar_in_which_the_connection_was_lost_is_not_made(tmp_path: Path) -> None:
    lost = [*PRINTS[:12], Note(T0 + 72 * S, "down", "x"), Note(T0 + 90 * S, "up", ""), *PRINTS[14:]]
    found = candles_of_tape(write(tmp_path / "a.tape", [BEGUN, *lost]))
    assert [(ts - T0 // 10**6) // 60_000 for ts in found.frames["X"]["ts"]] == [0, 2]
    assert [note.detail for note in found.notes][-1] == "prints are missing"


def test_prints_as_parquet(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tape", RECORDS)
    assert trades_to_parquet(path, tmp_path / "t.parquet") == 3
    table = pq.read_table(tmp_path / "t.parquet").to_pandas()
    assert table.iloc[0].to_dict() == {
        "ts_event": T0 + S, "ts_recv": T0 + S + 5, "symbol": "X", "trade_id": 1, "price": 100.0, "qty": 0.5,
        "side": "buy", "kind": "normal",
    }  # fmt: skip
    with pytest.raises(DataError, match=r"t\.parquet is there already"):
        trades_to_parquet(path, tmp_path / "t.parquet")


@pytest.mark.real_data
def test_a_capture_becomes_a_tape_that_says_the_same(tmp_path: Path, data_dir: Path) -> None:
    capture = data_dir / "demo" / "l2" / "binance_um_btcusdt_20230404_part1.raw.gz"
    done = tape_of_capture(capture, tmp_path / "a.tape")
    assert (done.venue, done.frames, done.unread) == ("binance_um", 13_384, 0)
    assert list(read_tape(tmp_path / "a.tape")) == list(read_capture(capture))
    found = check_tape(tmp_path / "a.tape")
    assert found.sound, found.findings
    assert found.facts.counts[("frame", "")] == 13_384 and found.facts.counts[("book", "BTCUSDT")] == 4_323


@pytest.mark.real_data
def test_the_prints_of_a_capture_are_those_of_the_table_beside_it(tmp_path: Path, data_dir: Path) -> None:
    tapes = []
    for name in ("binance_um_btcusdt_20230404_part1", "binance_um_btcusdt_20230405_part2"):
        tape_of_capture(data_dir / "demo" / "l2" / f"{name}.raw.gz", tmp_path / f"{name}.tape", raw=False)
        tapes.append(tmp_path / f"{name}.tape")
    merge_tapes(tapes, tmp_path / "both.tape")
    assert trades_to_parquet(tmp_path / "both.tape", tmp_path / "t.parquet") == 12_935
    found = pq.read_table(tmp_path / "t.parquet").to_pandas()
    want = pd.read_parquet(data_dir / "demo" / "trades" / "binance_um_btcusdt_trades_20230404.parquet")
    assert found["trade_id"].tolist() == want["trade_id"].tolist()
    assert found["price"].tolist() == want["price"].tolist() and found["qty"].tolist() == want["qty"].tolist()
    assert (found["side"] == "sell").tolist() == want["is_buyer_maker"].tolist()
    assert (found["kind"] == "insurance").sum() == 1
    bars = candles_of_tape(tmp_path / "both.tape").frames["BTCUSDT"]
    assert len(bars) == 7 and bars["ts"].iloc[0] == 1_680_652_740_000
