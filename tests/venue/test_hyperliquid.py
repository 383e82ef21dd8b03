"""Hyperliquid's shapes, hand-made: what each frame and answer says, what is refused, and which grid is stated."""

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from flea_lab.errors import ConfigError, VenueRefusal
from flea_lab.model.market import BookSnapshot, Candle, Funding, Heartbeat, Trade
from flea_lab.venue.dialects import load_dialect
from flea_lab.venue.hyperliquid import PING, HyperliquidSpeech
from flea_lab.venue.hyperliquid_grid import grid_of, price_step
from flea_lab.venue.reading import FrameError, question
from flea_lab.venue.speech import PUBLIC, Complaint, Subscribed
from tests.venue.hyperliquid_stand_in import META, bar, book, trade

MS = 1_000_000
T0 = 1_700_000_040_000  # a whole minute, ms
NOW = (T0 + 30_000) * MS
COINS = "BTCUSDT", "ETHUSDT"


def speech(*symbols: str, interval: str = "1m", **values: Any) -> HyperliquidSpeech:
    dialect = load_dialect({"name": "hyperliquid", **values}, "a test")
    found = HyperliquidSpeech(dialect, symbols or COINS, interval)
    found.begin(NOW)
    return found


def frame(channel: str, data: Any) -> bytes:
    return json.dumps({"channel": channel, "data": data}).encode()


def said(spoken: HyperliquidSpeech, channel: str, data: Any, ts_recv: int = NOW) -> list[Any]:
    pushes = spoken.push(frame(channel, data), ts_recv)
    assert isinstance(pushes, list)
    return [push.said for push in pushes]


def test_every_stream_is_asked_for_by_a_frame_of_its_own() -> None:
    frames = [json.loads(one) for one in speech("BTCUSDT").subscriptions(PUBLIC, False)]
    assert frames == [
        {"method": "subscribe", "subscription": {"type": "candle", "coin": "BTC", "interval": "1m"}},
        {"method": "subscribe", "subscription": {"type": "l2Book", "coin": "BTC"}},
        {"method": "subscribe", "subscription": {"type": "trades", "coin": "BTC"}},
        {"method": "subscribe", "subscription": {"type": "activeAssetCtx", "coin": "BTC"}},
    ]
    assert speech().asked(["book"]) == {("l2Book", "BTC"), ("l2Book", "ETH")}


def test_an_answer_to_a_subscription_names_its_stream_and_the_venues_own_words_are_no_fault() -> None:
    spoken = speech()
    asked = {"type": "l2Book", "coin": "BTC", "nSigFigs": None, "mantissa": None}
    answer = frame("subscriptionResponse", {"method": "subscribe", "subscription": asked})
    assert spoken.push(answer, NOW) == Subscribed(("l2Book",), ("BTC",))
    other = {"method": "subscribe", "subscription": {"type": "candle", "coin": "BTC", "interval": "5m"}}
    assert spoken.push(frame("subscriptionResponse", other), NOW) is None
    assert spoken.push(b"Websocket connection established.", NOW) is None
    assert spoken.push(b'{"channel":"pong"}', NOW) is None
    assert spoken.push(frame("error", 'Already subscribed: {"type":"candle"}'), NOW) is None


def test_an_error_frame_is_a_complaint_and_a_wrong_subscription_is_final() -> None:
    text = 'Invalid subscription {"type":"l2Book","coin":"XYZ"}'
    assert speech().push(frame("error", text), NOW) == Complaint("invalid_subscription", text)
    assert speech().push(frame("error", "Cannot track more than 10 total users."), NOW) == Complaint(
        "error", "Cannot track more than 10 total users."
    )


def test_a_book_is_whole_and_bears_the_venues_time() -> None:
    [found] = said(speech(), "l2Book", book("BTC", T0 + 5))
    assert found == BookSnapshot(
        symbol="BTCUSDT", ts_event=(T0 + 5) * MS, ts_recv=NOW, seq=None, bids=((100.0, 2.5),), asks=((101.0, 1.5),)
    )


@pytest.mark.parametrize(
    ("channel", "data", "fault", "critical"),
    [
        ("l2Book", book("BTC", T0, bid=102.0), "l2Book: BTCUSDT: crossed, bid 102.0 is not below ask 101.0", False),
        ("l2Book", book("BTC", T0) | {"levels": [[], []]}, "l2Book: BTCUSDT: no bids", False),
        ("l2Book", book("BTC", 0), "l2Book: BTCUSDT: time = 0: not a time in ms", False),
        ("l2Book", book("SOL", T0), "l2Book: 'SOL': a push that was not asked for|l2Book: SOL: a push", False),
        ("trades", [trade("BTC", T0, 1) | {"px": "nan"}], r"px = nan, sz = 0\.5: must be numbers above 0", False),
        ("trades", [trade("BTC", T0, 1) | {"side": "S"}], "trades: .*side = S: invalid enum value", False),
        ("candle", bar("BTC", T0, 100.0) | {"h": "99.0"}, r"high = 99\.0, low = 100\.0: do not span", True),
        ("candle", bar("BTC", T0 + 1, 100.0), "not a bar of 1m", True),
        ("candle", bar("BTC", T0, 100.0) | {"T": T0 + 60_000}, "not a bar of 1m", True),
        ("candle", bar("BTC", T0, 100.0) | {"i": "5m"}, "not a bar of 1m", True),
        ("candle", bar("BTC", T0, 100.0) | {"o": None}, "candle: o = None", True),
        ("activeAssetCtx", {"coin": "BTC", "ctx": {"funding": "1.5"}}, r"rate = 1\.5: must be a share", True),
        ("webData2", {}, "webData2: a push that was not asked for", False),
    ],
)
def test_what_cannot_be_believed_is_named_and_a_lost_bar_or_rate_is_critical(
    channel: str, data: Any, fault: str, critical: bool
) -> None:
    with pytest.raises(FrameError, match=fault) as raised:
        speech().push(frame(channel, data), NOW)
    assert raised.value.critical is critical


def test_a_frame_that_is_cut_is_critical_where_it_may_have_held_a_bar() -> None:
    for raw, critical in ((b'{"channel":"candle","data":{"t":1', True), (b'{"channel":"trades","da', False)):
        with pytest.raises(FrameError, match="frame: cannot be read") as raised:
            speech().push(raw, NOW)
        assert raised.value.critical is critical


def test_a_book_that_goes_back_in_time_is_refused_and_a_repeated_time_is_not() -> None:
    spoken = speech()
    for time in (T0 + 5, T0 + 5):
        assert len(said(spoken, "l2Book", book("BTC", time))) == 1
    with pytest.raises(FrameError, match=f"time = {T0 + 4}: before the book of {T0 + 5}"):
        spoken.push(frame("l2Book", book("BTC", T0 + 4)), NOW)
    assert len(said(spoken, "l2Book", book("ETH", T0 + 4))) == 1


def test_the_side_of_a_print_is_the_aggressors_and_each_is_told_once() -> None:
    spoken = speech()
    first = said(spoken, "trades", [trade("BTC", T0, 7, "B"), trade("BTC", T0 + 1, 3, "A")])
    assert [(one.side, one.trade_id, one.ts_event // MS - T0) for one in first] == [("buy", 7, 0), ("sell", 3, 1)]
    spoken.begin(NOW)  # a new connection repeats what was printed before it
    again = said(spoken, "trades", [trade("BTC", T0 + 1, 3, "A"), trade("BTC", T0 + 2, 9)])
    assert [one.trade_id for one in again if isinstance(one, Trade)] == [9]
    with pytest.raises(FrameError):
        spoken.push(frame("trades", [trade("BTC", T0 + 3, 11), trade("BTC", T0 + 3, 12, px=0.0)]), NOW)
    assert [one.trade_id for one in said(spoken, "trades", [trade("BTC", T0 + 3, 11)])] == [11]


def test_a_bar_is_over_when_the_next_one_comes() -> None:
    spoken = speech()
    assert [one.complete for one in said(spoken, "candle", bar("BTC", T0, 101.0))] == [False]
    over, begun = said(spoken, "candle", bar("BTC", T0 + 60_000, 102.0))
    assert isinstance(over, Candle) and over.complete and over.ts_event == (T0 + 60_000) * MS
    assert (over.close, over.high, over.volume) == (101.0, 101.0, 1.0) and not begun.complete


def test_a_bar_is_over_when_the_venues_own_time_has_passed_its_end_and_grace() -> None:
    spoken = speech()
    said(spoken, "candle", bar("BTC", T0, 101.0))
    late = NOW + 31_000 * MS
    assert len(said(spoken, "l2Book", book("BTC", T0 + 60_999), late)) == 1
    with pytest.raises(FrameError, match=r"time = .*: ahead of the venue's own clock"):
        spoken.push(frame("l2Book", book("BTC", T0 + 90_000)), late)
    over, beat, shown = said(spoken, "l2Book", book("ETH", T0 + 61_000), late)
    assert isinstance(over, Candle) and over.complete and over.symbol == "BTCUSDT"
    assert beat == Heartbeat(ts_event=(T0 + 60_000) * MS) and isinstance(shown, BookSnapshot)


def test_in_a_silent_market_an_answered_ping_shows_that_a_bar_is_over_and_a_held_back_one_does_not() -> None:
    spoken = speech()
    said(spoken, "candle", bar("BTC", T0, 101.0))
    end = (T0 + 60_000) * MS
    assert spoken.beat(end + 999 * MS) == ([PING], []), "the pulse that keeps the connection, 20 s after the last"
    assert spoken.beat(end + 1_000 * MS) == ([], []), "that ping is not answered yet, and was sent too early"
    spoken.push(b'{"channel":"pong"}', end + 1_100 * MS)
    assert spoken.beat(end + 1_200 * MS) == ([PING], [])
    spoken.push(b'{"channel":"pong"}', end + 1_300 * MS)
    over, beat = [push.said for push in spoken.beat(end + 1_400 * MS).pushes]
    assert isinstance(over, Candle) and over.complete and beat == Heartbeat(ts_event=end)


def test_the_rate_that_runs_is_current_due_at_the_full_hour_and_told_when_it_changes() -> None:
    spoken = speech()
    hour = 3_600_000_000_000
    due = NOW // hour * hour + hour
    context = {"coin": "BTC", "ctx": {"funding": "0.0000125", "markPx": "1.0", "oraclePx": "1.0"}}
    [found] = said(spoken, "activeAssetCtx", context)
    assert found == Funding(symbol="BTCUSDT", ts_event=NOW, ts_recv=NOW, rate=0.0000125, state="current", due_ns=due)
    assert said(spoken, "activeAssetCtx", context, NOW + 1) == []
    [later] = said(spoken, "activeAssetCtx", context, NOW + hour)
    assert later.due_ns == due + hour
    assert said(spoken, "activeAssetCtx", {"coin": "ETH", "ctx": {"markPx": "1.0"}}) == []


def test_the_tick_is_the_finest_step_of_a_coin_and_one_lot_at_one_tick_is_a_micro_dollar() -> None:
    for decimals in range(7):
        grid = grid_of(decimals)
        assert grid.unit_num == grid.unit_den == 1 and grid.funding_interval_h == 1
        for text in ("0.00012345", "1.2345", "97123", "123456"):
            price = Decimal(text)
            assert price_step(price, decimals) % grid.tick_size == 0, "every price on the venue is whole ticks"
    with pytest.raises(FrameError, match="szDecimals = 7: must be from 0 to 6"):
        grid_of(7)


def test_a_coin_that_is_not_there_is_refused_with_the_nearest() -> None:
    body = json.dumps(META).encode()
    assert set(speech().grids(body)) == set(COINS)
    assert str(speech("PEPE", symbols={"PEPE": "kPEPE"}).grids(body)["PEPE"].lot_size) == "1"
    with pytest.raises(VenueRefusal, match=r"the venue has no coin 'PEPE' \(our PEPEUSDT\), near are kPEPE"):
        speech("PEPEUSDT").grids(body)
    gone = {"universe": [{"name": "BTC", "szDecimals": 5, "isDelisted": True}]}
    with pytest.raises(VenueRefusal, match=r"no longer trades 'BTC' \(our BTCUSDT\), it has 1 coins"):
        speech("BTCUSDT").grids(json.dumps(gone).encode())


def test_answers_of_another_coin_or_out_of_order_are_refused() -> None:
    spoken = speech()
    rows = [bar("BTC", T0 + 60_000, 1.0), bar("BTC", T0, 1.0)]
    with pytest.raises(FrameError, match=r"candleSnapshot BTCUSDT: t = .* out of place"):
        spoken.candles(json.dumps(rows).encode(), "BTCUSDT", NOW, NOW)
    with pytest.raises(FrameError, match=r"fundingHistory BTCUSDT: time = .* out of place"):
        spoken.settlements(b'[{"coin":"ETH","fundingRate":"0.1","premium":"0","time":5}]', "BTCUSDT", NOW)
    with pytest.raises(FrameError, match="exchangeStatus"):
        spoken.status_ns(b"<html>")


def test_symbols_that_the_venue_spells_alike_are_refused() -> None:
    with pytest.raises(ConfigError, match="must be different"):
        speech("BTCUSDT", "BTCUSDC")
    with pytest.raises(ConfigError, match="interval = '2m'"):
        speech(interval="2m")


@pytest.mark.real_data
def test_the_venues_recorded_answers_are_read(data_dir: Path) -> None:
    """Real answers of 2023; what they hold is compared with what they say as plain JSON."""
    held = {"meta": 0, "candleSnapshot": 0, "fundingHistory": 0, "l2Book": 0}
    with gzip.open(data_dir / "fixtures" / "hyperliquid" / "hl_info_api_cassettes.jsonl.gz", "rt") as lines:
        for line in lines:
            row = json.loads(line)
            kind, answer, asked = row["request"]["type"], row["response"], row["request"]
            raw = json.dumps(answer).encode()
            if kind not in held:
                continue
            held[kind] += 1
            coin = (asked.get("req") or asked).get("coin", "BTC")
            spoken = speech(coin, interval=asked.get("req", {}).get("interval", "1m"))
            if kind == "meta":
                grid = spoken.grids(raw)[coin]
                assert grid.lot_size == Decimal(1).scaleb(-answer["universe"][0]["szDecimals"])
            elif kind == "candleSnapshot":
                found = spoken.candles(raw, coin, NOW, NOW)
                assert [(c.ts_event // MS - 1, c.close) for c in found] == [(b["T"], float(b["c"])) for b in answer]
            elif kind == "fundingHistory":
                rates = spoken.settlements(raw, coin, NOW)
                assert [f.rate for f in rates] == [float(r["fundingRate"]) for r in answer]
                assert {f.state for f in rates} == {"settled"}
            else:
                levels = spoken.book(raw, coin, NOW)
                assert (len(levels.bids), len(levels.asks)) == tuple(map(len, answer["levels"]))
    assert all(held.values()), held


@pytest.mark.real_data
def test_the_venues_recorded_frames_are_read_as_the_capture_decoder_reads_them(data_dir: Path) -> None:
    books, prints = 0, 0
    spoken = speech("BTC")
    spoken.begin(1)
    with gzip.open(data_dir / "demo" / "l2" / "hyperliquid_BTC_20250126.raw.gz", "rb") as lines:
        for line in lines:
            stamp, raw = line.rstrip().split(b" ", 1)
            pushes = spoken.push(raw, int(stamp))
            for push in pushes if isinstance(pushes, list) else ():
                books += isinstance(push.said, BookSnapshot)
                prints += isinstance(push.said, Trade)
    assert (books, prints) == (46, 64)


def test_a_question_is_one_object() -> None:
    assert json.loads(question("candleSnapshot", req={"coin": "BTC"})) == {
        "type": "candleSnapshot",
        "req": {"coin": "BTC"},
    }
