"""Frames and bodies: what the venue's article prints decodes, and whatever cannot be believed is one named error."""

import json
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flea_lab.errors import ConfigError, VenueError
from flea_lab.model.market import BookDelta, BookSnapshot, Candle, Funding, Heartbeat, Trade
from flea_lab.model.trading import Fill
from flea_lab.venue.dialects import load_dialect
from flea_lab.venue.order_wire import OrderWire, exact, steps
from flea_lab.venue.protocol import Played
from flea_lab.venue.reading import FrameError
from flea_lab.venue.speech import KINDS, Complaint, Push, Subscribed
from flea_lab.venue.wire import Wire
from tests.venue.stand_in import GRID, T0, candle_row, fill_row, order, order_row

NOW = (T0 + 3_600_000) * 1_000_000
NS = 1_000_000


def wire(**values: Any) -> Wire:
    built = Wire(load_dialect(values, "a test"), ["BTCUSDT", "ETHUSDT"], "1m", {"BTCUSDT": GRID})
    OrderWire(built)
    return built


def frame(channel: str, data: Any, **more: Any) -> bytes:
    return json.dumps({"channel": channel, "symbol": "BTCUSDT", "data": data} | more).encode()


def said(channel: str, data: Any, values: dict[str, Any] | None = None, **more: Any) -> Any:
    push = wire(**(values or {})).push(frame(channel, data, **more), NOW)
    assert isinstance(push, Push)
    return push.said


def fault(channel: str, data: Any, **more: Any) -> FrameError:
    with pytest.raises(FrameError) as raised:
        wire().push(frame(channel, data, **more), NOW)
    assert "\n" not in str(raised.value)
    return raised.value


# What the article's client sends and reads, in its own shapes: nothing but the fields it names.
SUBSCRIBE = b'{"action":"subscribe","channels":["candle_1m","orderbook_l2","trades"],"symbols":["BTCUSDT","ETHUSDT"]}'
CANDLE = (
    b'{"channel":"candle_1m","symbol":"BTCUSDT",'
    b'"data":{"t":1700000040000,"o":97000,"h":97100.5,"l":96900,"c":97050.1,"v":12.5}}'
)
BOOK = (
    b'{"channel":"orderbook_l2","symbol":"BTCUSDT","data":{"bids":[[97000.0,1.5],[96999.9,2]],"asks":[[97000.1,0.5]]}}'
)
TRADE = b'{"channel":"trades","symbol":"BTCUSDT","data":{"price":97000.1,"size":0.25,"side":"sell"}}'
HISTORY = b'{"candles":[{"t":1700000040000,"o":97000,"h":97100.5,"l":96900,"c":97050.1,"v":12.5}]}'


def test_the_article_is_spoken_to_the_letter() -> None:
    assert wire().subscription(["candle", "book", "trades"], ack=False) == SUBSCRIBE


def test_the_shapes_that_the_article_prints_are_read() -> None:
    candle = Candle(
        symbol="BTCUSDT",
        ts_event=(T0 + 60_000) * NS,
        ts_recv=NOW,
        open=97_000.0,
        high=97_100.5,
        low=96_900.0,
        close=97_050.1,
        volume=12.5,
        buy_volume=math.nan,
        complete=True,
    )
    read = [wire().push(raw, NOW) for raw in (CANDLE, BOOK, TRADE)]
    assert repr(read[0]) == repr(Push("candle", "BTCUSDT", None, candle))  # NaN differs from itself
    assert repr(wire().candles(HISTORY, "BTCUSDT", NOW, NOW)) == repr([candle])
    at = {"symbol": "BTCUSDT", "ts_event": NOW, "ts_recv": NOW}
    bids, asks = ((97_000.0, 1.5), (96_999.9, 2.0)), ((97_000.1, 0.5),)
    assert read[1] == Push("book", "BTCUSDT", None, BookSnapshot(**at, seq=None, bids=bids, asks=asks))
    assert read[2] == Push("trades", "BTCUSDT", None, Trade(**at, price=97_000.1, qty=0.25, side="sell"))


def test_the_extensions_are_read() -> None:
    at = {"symbol": "BTCUSDT", "ts_event": T0 * NS, "ts_recv": NOW}
    book = {"type": "delta", "bids": [["97000.0", "0"]], "asks": []}
    delta = BookDelta(**at, prev_seq=6, seq=7, bids=((97_000.0, 0.0),))
    assert said("orderbook_l2", book, seq=7, ts=T0) == delta
    trade = {"id": 5, "price": "1.5", "size": "2", "side": "buy", "ts": T0}
    assert said("trades", trade) == Trade(**at, price=1.5, qty=2.0, side="buy", trade_id=5)
    assert said("funding", {"rate": 1e-4, "settled": True}, ts=T0) == Funding(**at, rate=1e-4)
    assert said("funding", {"rate": 1e-4, "settled": False}, ts=T0) == Funding(**at, rate=1e-4, state="current")
    unsettled = {"rate": 1e-4, "settled": False, "predicted_rate": 2e-4, "next_funding_ts": T0 + 60_000}
    now, then = wire().push(frame("funding", unsettled, ts=T0), NOW)
    assert now.said == Funding(**at, rate=1e-4, state="current", due_ns=(T0 + 60_000) * NS)
    assert then.said == Funding(**at, rate=2e-4, state="predicted")
    assert said("candle_1m", candle_row(0, complete=True, bv=1.5)).buy_volume == 1.5
    assert wire().push(b'{"event":"heartbeat","ts":1700000040000}', NOW) == Push(
        "", "", None, Heartbeat(ts_event=T0 * NS)
    )
    assert wire().push(b'{"event":"played","ts":1700000040000}', NOW) == Push("", "", None, Played(ts_event=T0 * NS))
    confirmed = b'{"event":"subscribed","channels":["trades"],"symbols":["BTCUSDT"]}'
    assert wire().push(confirmed, NOW) == Subscribed(("trades",), ("BTCUSDT",))
    assert wire().push(b'{"event":"error","code":"unknown_symbol","message":7}', NOW) == Complaint(
        "unknown_symbol", "7"
    )
    assert wire().push(b'{"event":"welcome"}', NOW) is None
    assert wire().acknowledgement(T0 * NS) == b'{"action":"ack","ts":1700000040000}'
    asked = json.loads(wire(book="delta").subscription(["book"], ack=True))
    assert asked["book"] == "delta" and asked["ack"] is True


@pytest.mark.parametrize(
    ("t", "unit", "ms"),
    [(T0, "auto", T0), (T0 // 1000, "auto", T0), (T0 // 1000, "s", T0), (T0, "ms", T0), (str(T0), "auto", T0)],
)
def test_times_are_read_in_seconds_and_in_milliseconds(t: Any, unit: str, ms: int) -> None:
    assert said("candle_1m", candle_row(0, t=t, complete=True), {"time_unit": unit}).ts_event == (ms + 60_000) * NS


def test_a_candle_that_does_not_say_so_is_complete_only_when_its_time_is_over() -> None:
    closes = T0 + 60_000
    assert not said("candle_1m", candle_row(0), ts=closes - 20_000).complete
    assert said("candle_1m", candle_row(0), ts=closes).complete
    assert not said("candle_1m", candle_row(120)).complete  # by our own clock
    assert not said("candle_1m", candle_row(0, complete=False)).complete


BAD_NUMBERS = ["nan", "inf", "-inf", -1.0, 0, "", "x", None, [], {}, True]


@pytest.mark.parametrize("value", BAD_NUMBERS)
@pytest.mark.parametrize("name", ["o", "h", "l", "c"])
def test_a_candle_with_an_impossible_price_names_it(name: str, value: Any) -> None:
    error = fault("candle_1m", candle_row(0, **{name: value}))
    assert str(error).startswith("candle_1m BTCUSDT: ") and error.critical
    assert f"{name} = " in str(error)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"v": -0.1}, "candle_1m BTCUSDT: t = 1700000040000: v = -0.1: must be a number of at least 0"),
        ({"v": "nan"}, "candle_1m BTCUSDT: t = 1700000040000: v = nan: must be a number of at least 0"),
        ({"bv": 3.0}, "candle_1m BTCUSDT: t = 1700000040000: bv = 3.0: must be between 0 and v = 2.0"),
        ({"h": 96_950.0}, "candle_1m BTCUSDT: t = 1700000040000: h = 96950.0, l = 96900.0: do not span"),
        ({"t": T0 + 1}, "candle_1m BTCUSDT: t = 1700000040001: not the open of a 1m bar"),
        ({"t": -1}, "candle_1m BTCUSDT: t = -1: not a time"),
        ({"t": T0 * 1_000_000}, "candle_1m BTCUSDT: t = 1700000040000000000: beyond the year 2255"),
        ({"t": None}, "candle_1m BTCUSDT: t = None: expected int | float, got null"),
        ({"complete": "perhaps"}, "candle_1m BTCUSDT: complete = perhaps: expected bool"),
    ],
)
def test_a_candle_that_cannot_be_is_named(change: dict[str, Any], text: str) -> None:
    assert str(fault("candle_1m", candle_row(0, **change))).startswith(text)


@pytest.mark.parametrize(
    ("channel", "data", "text"),
    [
        ("orderbook_l2", {"bids": [[1, 1]]}, "orderbook_l2 BTCUSDT: data = {'bids': [[1, 1]]}: object missing"),
        ("orderbook_l2", {"bids": [[1, 0]], "asks": []}, "orderbook_l2 BTCUSDT: bids[0] = [1.0, 0.0]: price and size"),
        ("orderbook_l2", {"bids": [[1, "nan"]], "asks": []}, "orderbook_l2 BTCUSDT: bids[0] = [1.0, nan]: price"),
        ("orderbook_l2", {"bids": [[1]], "asks": []}, "orderbook_l2 BTCUSDT: bids[0] = [1]: expected array of"),
        ("orderbook_l2", {"bids": [[1, 1], [2, 1]], "asks": []}, "orderbook_l2 BTCUSDT: bids[1][0] = 2.0: not behind"),
        ("orderbook_l2", {"bids": [], "asks": [[2, 1], [1, 1]]}, "orderbook_l2 BTCUSDT: asks[1][0] = 1.0: not behind"),
        ("orderbook_l2", {"bids": [[2, 1]], "asks": [[2, 1]]}, "orderbook_l2 BTCUSDT: bids[0][0] = 2.0: crosses"),
        ("orderbook_l2", {"type": "delta", "bids": [], "asks": []}, "orderbook_l2 BTCUSDT: seq is missing"),
        ("trades", {"price": 0, "size": 1, "side": "buy"}, "trades BTCUSDT: price = 0.0: must be a number above 0"),
        ("trades", {"price": 1, "size": "inf", "side": "buy"}, "trades BTCUSDT: size = inf: must be a number"),
        ("trades", {"price": 1, "size": 1, "side": "long"}, "trades BTCUSDT: side = long: invalid enum value"),
        ("funding", {"rate": "nan"}, "funding BTCUSDT: rate = nan: must be a share between -1 and 1"),
        ("funding", {"rate": 1.0}, "funding BTCUSDT: rate = 1.0: must be a share between -1 and 1"),
        ("news", {}, "news BTCUSDT: a push that was not asked for"),
    ],
)
def test_what_cannot_be_believed_is_named(channel: str, data: Any, text: str) -> None:
    error = fault(channel, data)
    assert str(error).startswith(text)
    assert error.critical == (channel == "funding")


def test_a_fill_and_an_order_are_read_exactly() -> None:
    fill = Fill(
        client_order_id="run-1",
        ts_event=T0 * NS,
        symbol="BTCUSDT",
        side="buy",
        lots=10,
        price_ticks=970_001,
        fee_uusd=-1,
        reference_ticks=970_000,
        fill_id="f-3",
    )
    assert said("fills", fill_row(3, fee="-0.000001"), seq=9) == fill
    assert said("orders", order_row(status="open"), seq=10).venue_order_id == "o-1"


@pytest.mark.parametrize(
    ("channel", "change", "text"),
    [
        ("fills", {"price": "97000.15"}, "fills BTCUSDT: price = 97000.15: not a multiple of 0.1"),
        ("fills", {"size": "0.0105"}, "fills BTCUSDT: size = 0.0105: not a multiple of 0.001"),
        ("fills", {"size": "-0.010"}, "fills BTCUSDT: size = -0.010: must not be negative"),
        ("fills", {"size": "0"}, "fills BTCUSDT: price = 97000.1, size = 0: must be above 0"),
        ("fills", {"price": "NaN"}, "fills BTCUSDT: price = NaN: not a number that money is counted in"),
        ("fills", {"price": "Infinity"}, "fills BTCUSDT: price = Infinity: not a number that money is"),
        ("fills", {"price": "1e999999999"}, "fills BTCUSDT: price = 1E+999999999: not a number that money is"),
        ("fills", {"price": "1e30"}, "fills BTCUSDT: price = 1E+30: beyond 64 bits in steps of 0.1"),
        ("fills", {"fee": "x"}, "fills BTCUSDT: fee = x: invalid decimal string"),
        ("fills", {"side": "long"}, "fills BTCUSDT: side = long: invalid enum value"),
        ("fills", {"fill_id": ""}, "fills BTCUSDT: fill_id is empty: a repeated fill could not be told"),
        ("fills", {"symbol": "ETHUSDT"}, "fills BTCUSDT: symbol = ETHUSDT: the frame is about BTCUSDT"),
        ("fills", {"ts": None}, "fills BTCUSDT: ts = None: expected int | float, got null"),
        ("orders", {"status": "perhaps"}, "orders BTCUSDT: status = perhaps: invalid enum value"),
        ("orders", {"symbol": "ETHUSDT"}, "orders BTCUSDT: symbol = ETHUSDT: the frame is about BTCUSDT"),
    ],
)
def test_a_private_frame_that_cannot_be_is_named_and_critical(channel: str, change: dict[str, Any], text: str) -> None:
    error = fault(channel, (fill_row(1) if channel == "fills" else order_row()) | change, seq=1)
    assert str(error).startswith(text) and error.critical


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([candle_row(1), candle_row(0)], "candles BTCUSDT: row 1: t = 1700000040000: not after the row before it"),
        ([candle_row(0), candle_row(0)], "candles BTCUSDT: row 1: t = 1700000040000: not after the row before it"),
        ([candle_row(0, o="nan")], "candles BTCUSDT: row 0: t = 1700000040000: o = nan: must be a number above 0"),
        ([candle_row(0, o=[])], "candles BTCUSDT: candles[0].o = []: expected float, got array"),
        ("none", "candles BTCUSDT: candles = none: expected array, got str"),
    ],
)
def test_a_history_that_cannot_be_is_named(rows: Any, text: str) -> None:
    with pytest.raises(VenueError) as raised:
        wire().candles(json.dumps({"candles": rows}).encode(), "BTCUSDT", NOW, NOW)
    assert str(raised.value).startswith(text)


def test_symbols_travel_in_the_venues_spelling() -> None:
    built = wire(symbol="{base}-PERP")
    assert json.loads(built.subscription(["trades"], ack=False))["symbols"] == ["BTC-PERP", "ETH-PERP"]
    push = built.push(TRADE.replace(b"BTCUSDT", b"BTC-PERP"), NOW)
    assert isinstance(push, Push) and push.symbol == "BTCUSDT"
    body = json.loads(OrderWire(built).body(order()))
    assert body["symbol"] == "BTC-PERP"


def test_an_order_states_until_when_it_is_meant() -> None:
    body = json.loads(OrderWire(wire(order_validity_s=30.0)).body(order()))
    assert body["valid_until"] == T0 + 30_000


def test_a_wire_that_could_mix_up_symbols_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be different, and different as the venue spells them"):
        Wire(load_dialect({"symbol": "{base}"}, "a test"), ["BTCUSDT", "BTCUSDC"], "1m", {})
    with pytest.raises(ConfigError, match="interval = '2m': must be one of '1m', '5m'"):
        Wire(load_dialect({}, "a test"), ["BTCUSDT"], "2m", {})


@given(st.integers(1, 2**62), st.sampled_from(["0.1", "0.001", "5", "0.00001", "1e-18", "100", "0.25"]))
def test_what_goes_out_comes_back_exactly(count: int, step: str) -> None:
    text = exact(count, Decimal(step))
    assert "e" not in text.lower()
    assert steps(Decimal(text), Decimal(step), "a test") == count


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("nan") | st.just("-1"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("tohlcv"), inner, max_size=4),
    max_leaves=8,
)
FIELDS = ["t", "o", "h", "l", "c", "v", "bids", "asks", "type", "price", "size", "side", "rate", "ts", "id", "settled"]
FIELDS += list(fill_row(1)) + list(order_row())


def outcome(raw: bytes) -> Any:
    """What a frame says, or the error; anything else that is raised fails the test."""
    try:
        return wire().push(raw, NOW)
    except FrameError as error:
        return error


@given(st.sampled_from([wire().channel[kind] for kind in KINDS]), st.dictionaries(st.sampled_from(FIELDS), JUNK))
def test_no_data_makes_anything_but_a_message_or_a_named_error(channel: str, junk: dict[str, Any]) -> None:
    valid: dict[str, Any] = {"bids": [[1, 1]], "asks": [[2, 1]], "rate": 0.1, **candle_row(0), **order_row()}
    found = outcome(frame(channel, valid | fill_row(1) | junk, seq=1))
    if isinstance(found, FrameError):
        assert str(found).startswith((f"{channel} BTCUSDT: ", "frame: ")) and "\n" not in str(found)
    else:
        assert isinstance(found, Push)
        if isinstance(found.said, Candle):
            assert 0 < found.said.low <= found.said.high < math.inf


@given(st.binary(max_size=64) | st.text(max_size=64).map(str.encode))
def test_no_bytes_make_anything_but_a_named_error(raw: bytes) -> None:
    assert "\n" not in str(outcome(raw))
