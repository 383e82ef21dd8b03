"""The two line formats: recognised, timed to the digit, in order of receipt; a bad line is named or counted."""

import gzip
import json
from pathlib import Path

import pytest

from flea_lab.data.sources.captures import describe, hear, read_capture, read_frames, recognise
from flea_lab.errors import DataError

MARK = '{"stream":"btcusdt@trade","data":{"e":"trade","E":1680652700455,"T":1680652700452,"s":"BTCUSDT","t":%d,'
TRADE = MARK + '"p":"28145.10","q":"0.002","X":"MARKET","m":true}}'
DIFF = '{"data":{"e":"depthUpdate","E":1680652700594,"s":"BTCUSDT","U":3,"u":7,"pu":2,"b":[["99","1"]],"a":[]}}'
RAW = f"1680652700441533 {TRADE % 1}\n1680652700600379 {DIFF}\n1680652700700000 {TRADE % 2}\n"
URL = "wss://fstream.binance.com/stream?streams=x"
REST = "https://fapi.binance.com/fapi/v1/depth?symbol=BTCUSDT&limit=5"
WHOLE = '{"lastUpdateId":5,"E":1680652700500,"bids":[["99","2"]],"asks":[["100","2"]]}'
LOG = f"""{REST} -> 1680652700.550001: {WHOLE}

{URL} <-> 1680652700.1
{URL} <- 1680652700.2: {{"op":"subscribe"}}
1680652700.441533: {TRADE % 1}
1680652700.600379: {DIFF}
"""


def made(folder: Path, text: str | bytes, name: str = "made.raw") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_plain_and_gzip_say_the_same(tmp_path: Path) -> None:
    plain, packed = made(tmp_path, RAW), made(tmp_path, gzip.compress(RAW.encode()), "made.raw.gz")
    told = list(read_capture(plain))
    assert list(read_capture(packed)) == told
    assert recognise(plain) == "binance_um"
    assert [type(event).__name__ for event in told] == ["Trade", "BookDelta", "Trade"]
    assert [event.ts_recv for event in told] == [
        1_680_652_700_441_533_000,
        1_680_652_700_600_379_000,
        1_680_652_700_700_000_000,
    ]


def test_nanoseconds_are_told_from_microseconds_by_their_digits(tmp_path: Path) -> None:
    [first, *_] = read_capture(made(tmp_path, RAW.replace("1680652700441533 ", "1680652700441533789 ")))
    assert first.ts_recv == 1_680_652_700_441_533_789
    short = made(tmp_path, RAW.replace("1680652700600379 ", "1680652700600 "))
    with pytest.raises(DataError, match=r"made.raw:2: receive time 1680652700600 has 13 digits: neither us .* nor ns"):
        list(read_capture(short))


def test_a_rest_reply_comes_when_it_was_received(tmp_path: Path) -> None:
    path = made(tmp_path, LOG)
    told = list(read_capture(path))
    assert [type(event).__name__ for event in told] == ["Trade", "BookSnapshot", "BookDelta"]
    assert [event.symbol for event in told] == ["BTCUSDT"] * 3
    assert told[1].ts_recv == 1_680_652_700_550_001_000
    how = [(frame.line, frame.how) for frame in read_frames(path)]
    assert how == [(3, "connected"), (4, "sent"), (5, "pushed"), (1, "replied"), (6, "pushed")]


def test_a_bad_line_is_named_or_counted(tmp_path: Path) -> None:
    path = made(tmp_path, RAW.replace(DIFF, DIFF[:60]) + "nonsense\n")
    with pytest.raises(DataError, match=r"^made.raw:2: Input data was truncated$"):
        list(read_capture(path))
    assert [type(event).__name__ for event in read_capture(path, strict=False)] == ["Trade", "Trade"]
    found = describe(path)
    assert (found.unreadable, found.frames) == (2, 4)
    assert found.faults[1] == "made.raw:4: no `<time> <json>`, found b'nonsense'"


def test_cut_anywhere_a_frame_is_whole_or_unreadable(tmp_path: Path) -> None:
    """No half of a frame is ever taken for a message."""
    for frame in (DIFF, TRADE % 1):
        for cut in range(len(frame)):
            path = made(tmp_path, f"1680652700441533 {frame[:cut]}\n")
            [heard] = hear(path, venue="binance_um")
            assert type(heard.decoded).__name__ == "Unreadable"


def test_a_damaged_gzip_says_how_far_it_went(tmp_path: Path) -> None:
    packed = gzip.compress((RAW * 400).encode())
    path = made(tmp_path, packed[: len(packed) - 20], "cut.raw.gz")
    with pytest.raises(DataError, match=r"^cut.raw.gz: unreadable after line \d+ \("):
        list(read_capture(path, strict=False))


def test_what_is_no_capture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"made.raw:1: neither `<time> <json>` nor `<time>: <json>`, found b'date,open'"
    ):
        list(read_capture(made(tmp_path, "date,open\n1,2\n")))
    with pytest.raises(DataError, match=r"made.raw: of no venue known here"):
        list(read_capture(made(tmp_path, '1680652700441533 {"hello":1}\n')))
    with pytest.raises(DataError, match="of no venue known here"):
        describe(made(tmp_path, ""))
    with pytest.raises(DataError, match="venue 'nobody' is none of binance_cm"):
        list(read_capture(made(tmp_path, RAW), venue="nobody"))
    with pytest.raises(DataError, match="No such file"):
        list(read_capture(tmp_path / "absent.raw"))


def test_a_venue_without_an_address_is_known_by_its_wire(tmp_path: Path) -> None:
    shapes = {
        "hyperliquid": {"channel": "l2Book", "data": {}},
        "okx": {"arg": {"channel": "books", "instId": "X"}},
        "bitget": {"arg": {"instType": "sp", "channel": "books", "instId": "X"}},
        "bitmex": {"table": "trade"},
        "bybit_inverse": {"topic": "trade.X"},
        "coinbase": {"type": "match", "product_id": "X"},
        "deribit": {"jsonrpc": "2.0"},
        "dydx": {"channel": "v3_trades", "type": "subscribed"},
        "kraken_futures": {"feed": "book"},
        "kraken_spot": [1, {}, "book-10", "XBT/EUR"],
        "binance_spot": {"lastUpdateId": 1},
        "binance_cm": {"data": {"e": "depthUpdate", "pu": 1, "ps": "BTCUSD"}},
    }
    for venue, shape in shapes.items():
        lines = f'1680652700441533 {{"ping":1}}\n1680652700441534 {json.dumps(shape)}\n'
        assert recognise(made(tmp_path, lines)) == venue


def test_a_description_reads_as_a_few_lines(tmp_path: Path) -> None:
    text = str(describe(made(tmp_path, RAW)))
    assert text.splitlines() == [
        "made.raw: binance_um, 3 frames in 0.3 s from 2023-04-04 23:58:20",
        "  messages: 2 Trade, 1 BookDelta",
        "  symbols: BTCUSDT (BTC-USDT-PERP)",
        "  passed over: none",
        "  clock: received -0.00 s after its stamp",
        "  unreadable lines: 0",
    ]
