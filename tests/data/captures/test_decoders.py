"""One line of every venue's wire, made by hand: what it says, to the digit, and who the aggressor is."""

import json
from typing import Any

import pytest

from flea_lab.data.sources.captures import Decoder, Frame, Unreadable, normal_symbol
from flea_lab.data.sources.captures.recognise import VENUES
from flea_lab.data.sources.captures.venue import GRACE_NS
from flea_lab.model.market import (
    BookDelta,
    BookSnapshot,
    Candle,
    Funding,
    LevelChange,
    LevelIds,
    LevelTexts,
    Trade,
)

RECV = 1_700_000_000_500_000_000
T_MS = 1_700_000_000_000
T = T_MS * 1_000_000
ISO = "2023-11-14T22:13:20.000000Z"


def said(venue: str, *messages: Any, url: str = "") -> Any:
    """What the last of `messages` says."""
    decoder = Decoder(venue, "made.rawlog")
    for number, message in enumerate(messages, 1):
        raw = message if isinstance(message, bytes) else json.dumps(message).encode()
        told = decoder.on(Frame(number, RECV, "pushed", raw, url))
    return told


def at(symbol: str, ts: int = T) -> dict[str, Any]:
    return {"symbol": symbol, "ts_event": ts, "ts_recv": RECV}


def stream(**data: Any) -> dict[str, Any]:
    return {"stream": "x", "data": data}


DIFF = {"e": "depthUpdate", "E": T_MS, "T": T_MS - 1, "s": "BTCUSDT", "U": 5, "u": 9, "b": [["99.5", "0"]], "a": []}


def test_binance_books() -> None:
    diff = BookDelta(**at("BTCUSDT"), first_seq=5, seq=9, prev_seq=4, bids=((99.5, 0.0),))
    assert said("binance_um", stream(**DIFF, pu=4)) == (diff,)
    spot = BookDelta(**at("BTCUSDT"), first_seq=5, seq=9, bids=((99.5, 0.0),))
    assert said("binance_spot", stream(**DIFF)) == (spot,)
    whole = {"lastUpdateId": 7, "bids": [["99.5", "1"], ["99", "2"]], "asks": [["100", "3"]]}
    book = BookSnapshot(**at("BTCUSDT"), seq=7, bids=((99.5, 1.0), (99.0, 2.0)), asks=((100.0, 3.0),))
    assert said("binance_spot", stream(**DIFF), whole) == (book,)
    [asked] = said("binance_um", whole | {"E": T_MS}, url="https://fapi.binance.com/fapi/v1/depth?symbol=ABC&limit=5")
    assert (asked.symbol, asked.ts_event) == ("ABC", T)
    [named] = said("binance_cm", whole | {"E": T_MS, "symbol": "BTCUSD_PERP", "pair": "BTCUSD"})
    assert named.symbol == "BTCUSD_PERP"
    assert "snapshot of no known symbol" in said("binance_spot", whole).reason


@pytest.mark.parametrize(
    ("kind", "told"), [("MARKET", "normal"), ("INSURANCE_FUND", "insurance"), ("ADL", "liquidation")]
)
def test_binance_prints(kind: str, told: str) -> None:
    trade = {"e": "trade", "E": T_MS + 3, "T": T_MS, "s": "BTCUSDT", "t": 12, "p": "99.5", "q": "2", "X": kind}
    sold = Trade(**at("BTCUSDT"), price=99.5, qty=2.0, side="sell", trade_id=12, kind=told)
    assert said("binance_um", stream(**trade, m=True)) == (sold,)
    assert said("binance_um", stream(**trade, m=False))[0].side == "buy"
    total = {"e": "aggTrade", "E": T_MS, "T": T_MS, "s": "X", "a": 3, "f": 8, "l": 9, "p": "1", "q": "2", "m": False}
    assert said("binance_cm", stream(**total)) == (Trade(**at("X"), price=1.0, qty=2.0, side="buy", trade_id=3),)


def test_binance_funding_and_bars() -> None:
    mark = {"e": "markPriceUpdate", "E": T_MS, "s": "BTCUSDT", "p": "1", "i": "1", "T": T_MS + 1000}
    current = Funding(**at("BTCUSDT"), rate=-0.0001, state="current", due_ns=T + 1_000_000_000)
    assert said("binance_um", stream(**mark, r="-0.0001")) == (current,)
    assert said("binance_cm", stream(**mark, r="")) == "markPrice without funding"
    bar = dict(t=T_MS, T=T_MS + 59_999, i="1m", o="1", h="3", l="0.5", c="2", v="10", V="4", x=True)
    closed = Candle(**at("X", T + 60_000_000_000), open=1, high=3, low=0.5, close=2, volume=10, buy_volume=4)
    assert said("binance_um", stream(e="kline", E=T_MS, s="X", k=bar)) == (closed,)
    assert not said("binance_um", stream(e="kline", E=T_MS, s="X", k=bar | {"x": False}))[0].complete
    assert said("binance_um", stream(e="bookTicker", s="X", b="1", B="1", a="2", A="1")) == "bookTicker"
    assert said("binance_spot", stream(u=1, s="X", b="1", B="1", a="2", A="1")) == "bookTicker"


def test_okx() -> None:
    rows = {"asks": [["100.0", "3", "0", "1"]], "bids": [["99.50", "0", "0", "0"]], "ts": str(T_MS), "checksum": -5}
    books = {"arg": {"channel": "books", "instId": "BTC-USDT"}, "data": [rows]}
    texts = LevelTexts(bids=(("99.50", "0"),), asks=(("100.0", "3"),))
    levels: dict[str, Any] = {"bids": ((99.5, 0.0),), "asks": ((100.0, 3.0),), "checksum": -5, "texts": texts}
    assert said("okx", books | {"action": "update"}) == (BookDelta(**at("BTC-USDT"), **levels),)
    assert said("okx", books | {"action": "snapshot"}) == (BookSnapshot(**at("BTC-USDT"), seq=None, **levels),)
    trade = {"instId": "BTC-USDT", "tradeId": "7", "px": "99.5", "sz": "2", "side": "sell", "ts": str(T_MS)}
    sold = Trade(**at("BTC-USDT"), price=99.5, qty=2.0, side="sell", trade_id=7)
    assert said("okx", {"arg": {"channel": "trades", "instId": "BTC-USDT"}, "data": [trade]}) == (sold,)
    assert said("okx", {"event": "subscribe", "arg": {"channel": "trades", "instId": "BTC-USDT"}}) == "control"


def test_kraken_spot() -> None:
    early, late = f"{T_MS // 1000 - 1}.250001", f"{T_MS // 1000}.000000"
    whole = [1, {"as": [["2.0", "3.00", early]], "bs": [["1.0", "4.00", late]]}, "book-1000", "XBT/EUR"]
    texts = LevelTexts(bids=(("1.0", "4.00"),), asks=(("2.0", "3.00"),))
    levels: dict[str, Any] = {"bids": ((1.0, 4.0),), "asks": ((2.0, 3.0),), "texts": texts}
    assert said("kraken_spot", whole) == (BookSnapshot(**at("XBT/EUR"), seq=None, **levels),)
    parts = [
        1,
        {"a": [["2.0", "3.00", early]]},
        {"b": [["1.0", "4.00", late]], "c": "4105471083"},
        "book-10",
        "XBT/EUR",
    ]
    assert said("kraken_spot", parts) == (BookDelta(**at("XBT/EUR"), **levels, checksum=4_105_471_083),)
    rows = [["1.5", "2", late, "s", "m", ""], ["1.6", "2", late, "b", "l", ""]]
    prints = said("kraken_spot", [1, rows, "trade", "XBT/EUR"])
    assert prints[0] == Trade(**at("XBT/EUR"), price=1.5, qty=2.0, side="sell")
    assert [trade.side for trade in prints] == ["sell", "buy"]
    assert said("kraken_spot", {"event": "heartbeat"}) == "control"


def test_kraken_futures() -> None:
    one = {"feed": "book", "product_id": "PI_XBTUSD", "side": "sell", "seq": 8, "price": 2.0, "qty": 0.0}
    diff = BookDelta(**at("PI_XBTUSD"), seq=8, prev_seq=7, asks=((2.0, 0.0),))
    assert said("kraken_futures", one | {"timestamp": T_MS}) == (diff,)
    assert said("kraken_futures", one | {"timestamp": T_MS, "side": "buy"})[0].bids == ((2.0, 0.0),)
    assert isinstance(said("kraken_futures", one | {"timestamp": T_MS, "side": "both"}), Unreadable)
    sides = {"bids": [{"price": 1.0, "qty": 4.0}], "asks": [{"price": 2.0, "qty": 3.0}]}
    whole = {"feed": "book_snapshot", "product_id": "PI_XBTUSD", "timestamp": T_MS, "seq": 7, **sides}
    book = BookSnapshot(**at("PI_XBTUSD"), seq=7, bids=((1.0, 4.0),), asks=((2.0, 3.0),))
    assert said("kraken_futures", whole) == (book,)
    trade = {
        "feed": "trade",
        "product_id": "PI_XBTUSD",
        "side": "buy",
        "seq": 3,
        "time": T_MS,
        "qty": 2.0,
        "price": 1.5,
    }
    bought = Trade(**at("PI_XBTUSD"), price=1.5, qty=2.0, side="buy", trade_id=3, kind="liquidation")
    assert said("kraken_futures", trade | {"type": "liquidation"}) == (bought,)
    assert said("kraken_futures", trade | {"type": "fill"})[0].kind == "normal"
    assert said("kraken_futures", {"feed": "trade_snapshot", "trades": []}) == "history"


def test_coinbase_tells_the_makers_side() -> None:
    match = dict(type="match", trade_id=5, size="2", price="1.5", product_id="BTC-USD", sequence=9, time=ISO)
    bought = Trade(**at("BTC-USD"), price=1.5, qty=2.0, side="buy", trade_id=5)
    assert said("coinbase", match | {"side": "sell"}) == (bought,)
    assert said("coinbase", match | {"side": "buy"})[0].side == "sell"
    assert said("coinbase", match | {"type": "last_match", "side": "buy"}) == "history"


def test_coinbase_books() -> None:
    changes = [["sell", "2", "0"], ["buy", "1", "4"]]
    update = {"type": "l2update", "product_id": "BTC-USD", "changes": changes, "time": ISO}
    diff = BookDelta(**at("BTC-USD"), bids=((1.0, 4.0),), asks=((2.0, 0.0),))
    assert said("coinbase", update) == (diff,)
    whole = {"type": "snapshot", "product_id": "ETH-USD", "bids": [["1", "4"]], "asks": [["2", "3"]]}
    [book] = said("coinbase", update, whole)
    assert book == BookSnapshot(**at("ETH-USD", T - GRACE_NS), seq=None, bids=((1.0, 4.0),), asks=((2.0, 3.0),))


def test_bybit_inverse() -> None:
    def level(price: str, side: str, size: int) -> dict[str, Any]:
        return {"price": price, "symbol": "BTCUSD", "id": 1, "side": side, "size": size}

    head = {"topic": "orderBookL2_25.BTCUSD", "cross_seq": 8, "timestamp_e6": T_MS * 1000}
    rows = [level("1.0", "Buy", 4), level("1.5", "Buy", 5), level("2.5", "Sell", 6), level("2.0", "Sell", 3)]
    book = BookSnapshot(**at("BTCUSD"), seq=8, bids=((1.5, 5.0), (1.0, 4.0)), asks=((2.0, 3.0), (2.5, 6.0)))
    assert said("bybit_inverse", head | {"type": "snapshot", "data": rows}) == (book,)
    parts = {
        "delete": [level("1.0", "Buy", 4)],
        "update": [level("2.0", "Sell", 9)],
        "insert": [level("1.0", "Buy", 7)],
    }
    diff = BookDelta(**at("BTCUSD"), seq=8, bids=((1.0, 0.0), (1.0, 7.0)), asks=((2.0, 9.0),))
    assert said("bybit_inverse", head | {"type": "delta", "data": parts}) == (diff,)
    row = {"trade_time_ms": T_MS, "symbol": "BTCUSD", "side": "Sell", "size": 2, "price": 1.5, "trade_id": "a-b"}
    sold = Trade(**at("BTCUSD"), price=1.5, qty=2.0, side="sell")
    assert said("bybit_inverse", {"topic": "trade.BTCUSD", "data": [row]}) == (sold,)


def test_bitmex() -> None:
    rows = [
        {"symbol": "XBTUSD", "id": 10, "side": "Sell", "size": 3, "price": 2.5},
        {"symbol": "XBTUSD", "id": 11, "side": "Sell", "size": 4, "price": 2.0},
        {"symbol": "XBTUSD", "id": 12, "side": "Buy", "size": 5, "price": 1.0, "timestamp": ISO},
    ]
    ids = LevelIds(bids=(12,), asks=(11, 10))
    book = BookSnapshot(**at("XBTUSD"), seq=None, bids=((1.0, 5.0),), asks=((2.0, 4.0), (2.5, 3.0)), ids=ids)
    assert said("bitmex", {"table": "orderBookL2", "action": "partial", "data": rows}) == (book,)
    update = [{"symbol": "XBTUSD", "id": 10, "side": "Sell", "size": 9}]
    [diff] = said("bitmex", {"table": "orderBookL2", "action": "update", "data": update})
    assert diff.changes == (LevelChange(action="update", side="sell", level_id=10, price=None, qty=9.0),)
    assert diff.ts_event == RECV - GRACE_NS
    gone = [{"symbol": "XBTUSD", "id": 12, "side": "Buy"}, {"symbol": "ETHUSD", "id": 1, "side": "Sell"}]
    told = said("bitmex", {"table": "orderBookL2", "action": "delete", "data": gone})
    assert [(diff.symbol, diff.changes[0].qty) for diff in told] == [("XBTUSD", 0.0), ("ETHUSD", 0.0)]
    trade = {"timestamp": ISO, "symbol": "XBTUSD", "side": "Buy", "size": 2, "price": 1.5, "trdType": "Liquidation"}
    bought = Trade(**at("XBTUSD"), price=1.5, qty=2.0, side="buy", kind="liquidation")
    assert said("bitmex", {"table": "trade", "action": "insert", "data": [trade]}) == (bought,)
    assert said("bitmex", {"table": "trade", "action": "partial", "data": [trade]}) == "history"


def test_bitmex_tells_settled_current_and_predicted_funding_apart() -> None:
    settled = {"timestamp": ISO, "symbol": "XBTUSD", "fundingRate": 0.0001}
    paid = Funding(**at("XBTUSD"), rate=0.0001)
    assert said("bitmex", {"table": "funding", "action": "insert", "data": [settled]}) == (paid,)
    row = settled | {"indicativeFundingRate": -0.0002, "fundingTimestamp": "2023-11-15T04:00:00.000Z"}
    current, predicted = said("bitmex", {"table": "instrument", "action": "update", "data": [row]})
    assert (current.state, current.rate, current.due_ns) == ("current", 0.0001, 1_700_020_800_000_000_000)
    assert (predicted.state, predicted.rate, predicted.due_ns) == ("predicted", -0.0002, None)
    assert said("bitmex", {"table": "instrument", "action": "update", "data": [{"symbol": "X"}]}) == "instrument"


def subscription(channel: str, data: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "subscription", "params": {"channel": channel, "data": data}}


def test_deribit() -> None:
    head = {"timestamp": T_MS, "instrument_name": "BTC-PERPETUAL", "change_id": 8}
    whole = head | {"type": "snapshot", "bids": [["new", 1.0, 4.0]], "asks": [["new", 2.0, 3.0]]}
    book = BookSnapshot(**at("BTC-PERPETUAL"), seq=8, bids=((1.0, 4.0),), asks=((2.0, 3.0),))
    assert said("deribit", subscription("book.BTC-PERPETUAL.raw", whole)) == (book,)
    change = head | {
        "type": "change",
        "prev_change_id": 7,
        "bids": [["delete", 1.0, 0.0]],
        "asks": [["change", 2.0, 9.0]],
    }
    diff = BookDelta(**at("BTC-PERPETUAL"), seq=8, prev_seq=7, bids=((1.0, 0.0),), asks=((2.0, 9.0),))
    assert said("deribit", subscription("book.BTC-PERPETUAL.raw", change)) == (diff,)
    row = {"trade_seq": 3, "trade_id": "99", "timestamp": T_MS, "instrument_name": "BTC-PERPETUAL", "price": 1.5}
    row |= {"direction": "sell", "amount": 20.0, "liquidation": "T"}
    sold = Trade(**at("BTC-PERPETUAL"), price=1.5, qty=20.0, side="sell", trade_id=3, kind="liquidation")
    assert said("deribit", subscription("trades.BTC-PERPETUAL.raw", [row])) == (sold,)
    ticker = {"timestamp": T_MS, "instrument_name": "BTC-PERPETUAL", "current_funding": 1e-5, "funding_8h": 2e-5}
    current = Funding(**at("BTC-PERPETUAL"), rate=1e-5, state="current")
    assert said("deribit", subscription("ticker.BTC-PERPETUAL.raw", ticker)) == (current,)
    option = {"timestamp": T_MS, "instrument_name": "BTC-24SEP21-8000-P"}
    assert said("deribit", subscription("ticker.BTC-24SEP21-8000-P.raw", option)) == "ticker"


def test_bitget() -> None:
    def message(channel: str, action: str, row: Any) -> dict[str, Any]:
        return {"action": action, "arg": {"instType": "sp", "channel": channel, "instId": "EOSUSDT"}, "data": [row]}

    rows = {"asks": [["2.0", "3"]], "bids": [["1.0", "0"]], "checksum": -7, "ts": str(T_MS)}
    texts = LevelTexts(bids=(("1.0", "0"),), asks=(("2.0", "3"),))
    levels: dict[str, Any] = {"bids": ((1.0, 0.0),), "asks": ((2.0, 3.0),), "checksum": -7, "texts": texts}
    assert said("bitget", message("books", "update", rows)) == (BookDelta(**at("EOSUSDT"), **levels),)
    assert said("bitget", message("books", "snapshot", rows)) == (BookSnapshot(**at("EOSUSDT"), seq=None, **levels),)
    trade = [str(T_MS), "1.5", "2", "buy"]
    assert said("bitget", message("trade", "update", trade)) == (
        Trade(**at("EOSUSDT"), price=1.5, qty=2.0, side="buy"),
    )
    assert said("bitget", message("trade", "snapshot", trade)) == "history"
    bar = [str(T_MS - 60_000), "1", "3", "0.5", "2", "10"]
    over = Candle(**at("EOSUSDT"), open=1.0, high=3.0, low=0.5, close=2.0, volume=10.0)
    told = said("bitget", message("trade", "update", trade), message("candle1m", "update", bar))
    assert repr(told) == repr((over,))
    forming = said("bitget", message("trade", "update", trade), message("candle1m", "update", [str(T_MS), *bar[1:]]))
    assert not forming[0].complete


def test_dydx() -> None:
    bids = [{"price": "1", "offset": "5", "size": "0"}, {"price": "1.5", "offset": "9", "size": "4"}]
    contents = {"bids": bids, "asks": [{"price": "2", "offset": "7", "size": "3"}]}
    whole = {"type": "subscribed", "channel": "v3_orderbook", "id": "BTC-USD", "contents": contents}
    ids = LevelIds(bids=(9, 5), asks=(7,))
    guessed = at("BTC-USD", RECV - GRACE_NS)
    book = BookSnapshot(**guessed, seq=9, bids=((1.5, 4.0), (1.0, 0.0)), asks=((2.0, 3.0),), ids=ids)
    assert said("dydx", whole) == (book,)
    update = {"offset": "11", "bids": [], "asks": [["2", "0"]]}
    diff = BookDelta(**guessed, seq=11, asks=((2.0, 0.0),))
    assert said("dydx", {"type": "channel_data", "channel": "v3_orderbook", "id": "BTC-USD", "contents": update}) == (
        diff,
    )
    row = {"size": "2", "side": "BUY", "price": "1.5", "createdAt": "2023-11-14T22:13:20.000Z", "liquidation": True}
    trades = {"type": "channel_data", "channel": "v3_trades", "id": "BTC-USD", "contents": {"trades": [row]}}
    bought = Trade(**at("BTC-USD"), price=1.5, qty=2.0, side="buy", kind="liquidation")
    assert said("dydx", trades) == (bought,)
    assert said("dydx", trades | {"type": "subscribed"}) == "history"


def test_hyperliquid() -> None:
    levels = [[{"px": "1.0", "sz": "4", "n": 1}], [{"px": "2.0", "sz": "3", "n": 2}]]
    l2 = {"channel": "l2Book", "data": {"coin": "BTC", "time": T_MS, "levels": levels}}
    assert said("hyperliquid", l2) == (BookSnapshot(**at("BTC"), seq=None, bids=((1.0, 4.0),), asks=((2.0, 3.0),)),)
    row = {"coin": "BTC", "side": "A", "px": "1.5", "sz": "2", "time": T_MS, "tid": 77, "hash": "0x0"}
    sold = Trade(**at("BTC"), price=1.5, qty=2.0, side="sell", trade_id=77)
    assert said("hyperliquid", {"channel": "trades", "data": [row, row | {"side": "B"}]})[0] == sold
    assert said("hyperliquid", {"channel": "trades", "data": [row | {"side": "B"}]})[0].side == "buy"
    bar = dict(t=T_MS - 60_000, T=T_MS - 1, s="BTC", i="1m", o="1", h="3", l="0.5", c="2", v="10", n=4)
    [over] = said("hyperliquid", l2, {"channel": "candle", "data": bar})
    assert (over.ts_event, over.complete, over.volume) == (T, True, 10.0)
    [forming] = said("hyperliquid", l2, {"channel": "candle", "data": bar | {"t": T_MS, "T": T_MS + 59_999}})
    assert not forming.complete
    told = said(
        "hyperliquid", l2, {"channel": "activeAssetCtx", "data": {"coin": "BTC", "ctx": {"funding": "0.00001"}}}
    )
    assert told == (Funding(**at("BTC"), rate=1e-5, state="current"),)


@pytest.mark.parametrize("venue", sorted(VENUES))
@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"7", b'"x"', b"null", b"{}", b'{"data":{}}', b'{"table":"trade"}', b"[" * 5000, b"\xff\xfe"],
)
def test_a_text_of_no_known_shape_is_never_more_than_one_unreadable_line(venue: str, raw: bytes) -> None:
    told = said(venue, raw)
    assert isinstance(told, Unreadable | str | tuple)
    if isinstance(told, Unreadable):
        assert told.reason.startswith("made.rawlog:1: ") and "\n" not in told.reason
    assert not isinstance(told, tuple) or told == ()


def test_a_fault_says_which_field() -> None:
    assert said("binance_um", stream(e="trade", s="X")).reason == "made.rawlog:1: 'T' is missing or unknown"
    row = {"instId": "X", "tradeId": "seven", "px": "1", "sz": "1", "side": "buy", "ts": "1"}
    reason = said("okx", {"arg": {"channel": "trades", "instId": "X"}, "data": [row]}).reason
    assert reason == "made.rawlog:1: invalid literal for int() with base 10: 'seven'"


@pytest.mark.parametrize(
    ("venue", "symbol", "normal"),
    [
        ("binance_spot", "BTCUSDT", "BTC-USDT"),
        ("binance_um", "BTCUSDT", "BTC-USDT-PERP"),
        ("binance_um", "BTCUSDT_230630", "BTC-USDT-230630"),
        ("binance_cm", "BCHUSD_PERP", "BCH-USD-PERP"),
        ("binance_cm", "BCHUSD_210924", "BCH-USD-210924"),
        ("bitget", "EOSUSDT", "EOS-USDT"),
        ("bitget", "EOSUSDT_UMCBL", "EOS-USDT-PERP"),
        ("bitmex", "XBTUSD", "BTC-USD-PERP"),
        ("bitmex", "XBTU21", "BTC-USD-U21"),
        ("bitmex", "XRPU21", "XRP-BTC-U21"),
        ("bybit_inverse", "BTCUSD", "BTC-USD-PERP"),
        ("bybit_inverse", "BTCUSDM21", "BTC-USD-M21"),
        ("coinbase", "BAND-GBP", "BAND-GBP"),
        ("deribit", "BTC-PERPETUAL", "BTC-USD-PERP"),
        ("deribit", "SOL_USDC-PERPETUAL", "SOL-USDC-PERP"),
        ("deribit", "BTC-5FEB21-8000-P", "BTC-USD-210205-8000-P"),
        ("dydx", "ETH-USD", "ETH-USD-PERP"),
        ("hyperliquid", "BTC", "BTC-USD-PERP"),
        ("hyperliquid", "PURR/USDC", "PURR-USDC"),
        ("hyperliquid", "@107", "@107"),
        ("kraken_futures", "PI_XBTUSD", "BTC-USD-PERP"),
        ("kraken_futures", "FI_ETHUSD_211231", "ETH-USD-211231"),
        ("kraken_spot", "XBT/CHF", "BTC-CHF"),
        ("okx", "UNI-USD-SWAP", "UNI-USD-PERP"),
        ("okx", "BTC-USD-220527", "BTC-USD-220527"),
        ("okx", "BTC-USD-220527-30000-C", "BTC-USD-220527-30000-C"),
        ("nobody", "BTC", "BTC"),
    ],
)
def test_one_spelling_for_all_venues(venue: str, symbol: str, normal: str) -> None:
    assert normal_symbol(venue, symbol) == normal
