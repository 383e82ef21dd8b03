"""A made-up bar is its candle again, print by print; a recording is cut without loss."""

import math
from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flea_lab.errors import ConfigError, DataError
from flea_lab.model.book import book_fault, spread_bps
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import MS_NS, BookDelta, BookSnapshot, Candle, Trade
from flea_lab.model.trading import Fill
from flea_lab.sandbox.book import BookMatching, liquidity
from flea_lab.sandbox.depth import DepthSettings, Inside, recorded, synthesise
from flea_lab.settings import load_settings
from tests.execution.orders import an_order

GRID = Instrument(tick_size=Decimal("0.1"), lot_size=Decimal("0.001"))
MINUTE = 60_000
CLOSE = 1_735_689_660_000 * MS_NS
NAN = math.nan


def a_candle(
    bar: tuple[float, float, float, float] = (100.0, 100.8, 99.6, 100.3),
    volume: float = 2.5,
    buys: float = NAN,
    close: int = CLOSE,
) -> Candle:
    names = dict(zip(("open", "high", "low", "close"), bar, strict=True))
    return Candle(symbol="X", ts_event=close, ts_recv=close, volume=volume, buy_volume=buys, **names)


def inside(candle: Candle, previous: float = NAN, seed: int = 0, **settings: Any) -> list[Inside]:
    return synthesise(candle, previous, GRID, load_settings(settings, DepthSettings, "test"), seed)


def prints(events: list[Inside]) -> list[Trade]:
    return [event for event in events if isinstance(event, Trade)]


def books(events: list[Inside]) -> list[BookSnapshot]:
    return [event for event in events if isinstance(event, BookSnapshot)]


def partials(events: list[Inside]) -> list[Candle]:
    return [event for event in events if isinstance(event, Candle)]


def written(value: float) -> Decimal:
    return Decimal(repr(value))


@st.composite
def candles(draw: st.DrawFn) -> Candle:
    """Bars on the grid: flat, straight, long and of a single lot; buyers known or not."""
    ticks = st.integers(10, 10_000_000)
    middle = draw(ticks)
    around = st.integers(max(middle - draw(st.sampled_from([0, 1, 5, 5_000])), 1), middle)
    low, high = draw(around), 2 * middle - draw(around)
    within = st.one_of(st.sampled_from([low, high]), st.integers(low, high))
    lots = draw(st.one_of(st.integers(0, 8), st.integers(1, 50_000_000)))
    buys = draw(st.none() | st.integers(0, lots))
    bar = (draw(within), high, low, draw(within))
    return a_candle(
        tuple(GRID.price(tick) for tick in bar),  # type: ignore[arg-type]
        GRID.qty(lots),
        NAN if buys is None else GRID.qty(buys),
    )


settings_of = st.fixed_dictionaries(
    {
        "steps": st.integers(4, 40),
        "levels": st.integers(1, 20),
        "spread_bps": st.floats(0.0, 20.0),
        "depth_share": st.floats(0.01, 10.0),
        "seed": st.integers(0, 5),
    }
)


@given(candles(), settings_of, st.one_of(st.just(NAN), st.floats(1.0, 1e6)))
def test_the_prints_of_a_bar_are_its_candle(candle: Candle, how: dict[str, Any], previous: float) -> None:
    tape = prints(inside(candle, previous, **how))
    if candle.volume == 0:
        assert tape == []
        return
    paid = [trade.price for trade in tape]
    assert (paid[0], max(paid), min(paid), paid[-1]) == (candle.open, candle.high, candle.low, candle.close)
    assert sum(written(trade.qty) for trade in tape) == written(candle.volume)
    assert all(trade.qty > 0 for trade in tape)
    assert len({trade.trade_id for trade in tape}) == len(tape)
    if candle.volume >= 0.004:  # a lot for each of the four prices
        assert all(written(trade.qty) % GRID.lot_size == 0 for trade in tape), "whole lots"
        if not math.isnan(candle.buy_volume):
            bought = sum((written(trade.qty) for trade in tape if trade.side == "buy"), Decimal(0))
            assert bought == written(candle.buy_volume)


@given(candles(), settings_of)
def test_a_partial_candle_is_the_prints_so_far(candle: Candle, how: dict[str, Any]) -> None:
    so_far: list[Trade] = []
    last = None
    for event in inside(candle, **how):
        if isinstance(event, Trade):
            so_far.append(event)
        if isinstance(event, Candle):
            last = event
            paid = [trade.price for trade in so_far]
            assert (event.open, event.high, event.low, event.close) == (paid[0], max(paid), min(paid), paid[-1])
            assert written(event.volume) == sum(written(trade.qty) for trade in so_far)
            if not math.isnan(candle.buy_volume):
                bought = sum((written(t.qty) for t in so_far if t.side == "buy"), Decimal(0))
                assert written(event.buy_volume) == bought
            assert not event.complete and event.ts_event == candle.ts_event and event.ts_recv == so_far[-1].ts_recv
    if last is None:
        assert candle.volume == 0
    else:
        whole = msgspec.structs.replace(last, complete=True, ts_recv=candle.ts_recv, buy_volume=0.0)
        assert whole == msgspec.structs.replace(candle, buy_volume=0.0), "the last one is the candle"
        assert math.isnan(last.buy_volume) == math.isnan(candle.buy_volume)


@given(candles(), settings_of)
def test_every_step_shows_a_sound_book_around_the_path(candle: Candle, how: dict[str, Any]) -> None:
    events = inside(candle, **how)
    shown = books(events)
    assert len(shown) == how["steps"]
    for book in shown:
        assert book_fault(book) == ""
        assert len(book.asks) == how["levels"] and 1 <= len(book.bids) <= how["levels"]
        bid, ask = GRID.ticks(book.bids[0][0]), GRID.ticks(book.asks[0][0])
        at = bid if candle.low <= book.bids[0][0] <= candle.high else ask
        assert ask - bid in (max(1, round(tick * how["spread_bps"] / 10_000)) for tick in (at, ask, bid))
        assert any(candle.low <= touch <= candle.high for touch in (book.bids[0][0], book.asks[0][0]))
        assert all(written(qty) % GRID.lot_size == 0 for _, qty in (*book.bids, *book.asks))


@given(candles(), settings_of)
def test_everything_is_in_order_of_time_after_the_open_and_before_the_close(
    candle: Candle, how: dict[str, Any]
) -> None:
    events = inside(candle, **how)
    stamps = [event.ts_recv for event in events]
    assert stamps == sorted(stamps)
    assert stamps[0] > CLOSE - MINUTE * MS_NS and stamps[-1] < CLOSE
    assert all(stamp % MS_NS == 0 for stamp in stamps)
    assert all(event.ts_event == event.ts_recv for event in events if not isinstance(event, Candle))
    assert isinstance(events[0], BookSnapshot), "a book before the first print"


def test_the_first_book_is_a_millisecond_after_the_open_and_the_last_one_before_the_close() -> None:
    for interval_ms in (MINUTE, 3_600_000):
        events = synthesise(a_candle(), NAN, GRID, DepthSettings(), 0, interval_ms)
        stamps = [(event.ts_recv - CLOSE) // MS_NS for event in books(events)]
        assert (stamps[0], stamps[-1]) == (1 - interval_ms, -1)


def test_prints_are_at_a_touch_of_the_book_before_them_unless_the_bar_ends_there() -> None:
    book = None
    for event in inside(a_candle()):
        if isinstance(event, BookSnapshot):
            book = event
        elif isinstance(event, Trade):
            assert book is not None
            touch = book.asks[0][0] if event.side == "buy" else book.bids[0][0]
            assert event.price == min(max(touch, 99.6), 100.8)


def test_a_bar_by_hand() -> None:
    """8 lots: one for each of the four corners and four by weight, every other one bought; the low comes first."""
    events = inside(a_candle((100.0, 100.2, 99.9, 100.1), 0.008, 0.004), 99.0, steps=4, levels=2, seed=2)
    assert [(book.bids[0][0], book.asks[0][0], book.bids[1][0]) for book in books(events)] == [
        (99.9, 100.0, 99.8),  # opens up from 99: the open is the ask
        (99.9, 100.0, 99.8),  # down to the low: it is the bid
        (100.1, 100.2, 100.0),  # up to the high: it is the ask
        (100.1, 100.2, 100.0),  # down to the close: it is the bid
    ]
    assert [(trade.price, trade.qty, trade.side) for trade in prints(events)] == [
        (100.0, 0.001, "buy"),  # the open, and only there the mover before the other
        (99.9, 0.001, "sell"),
        (100.0, 0.001, "buy"),
        (99.9, 0.001, "sell"),
        (100.1, 0.001, "sell"),
        (100.2, 0.001, "buy"),
        (100.2, 0.001, "buy"),
        (100.1, 0.001, "sell"),
    ]
    assert [(c.open, c.high, c.low, c.close, c.volume, c.buy_volume) for c in partials(events)] == [
        (100.0, 100.0, 99.9, 99.9, 0.002, 0.001),
        (100.0, 100.0, 99.9, 99.9, 0.004, 0.002),
        (100.0, 100.2, 99.9, 100.2, 0.006, 0.003),
        (100.0, 100.2, 99.9, 100.1, 0.008, 0.004),
    ]
    assert [(c.ts_recv - CLOSE) // MS_NS for c in partials(events)] == [-59_999, -40_000, -20_001, -1]


def test_the_spread_is_as_asked_and_a_tick_at_least() -> None:
    for asked, ticks in ((0.0, 1), (10.0, 1), (30.0, 3), (100.0, 10)):
        book = books(inside(a_candle(), spread_bps=asked))[0]
        assert GRID.ticks(book.asks[0][0]) - GRID.ticks(book.bids[0][0]) == ticks
        assert spread_bps(book) == pytest.approx(max(asked, 10.0), rel=0.01)
        assert GRID.ticks(book.bids[0][0]) - GRID.ticks(book.bids[1][0]) == max(1, ticks // 2)


def test_a_price_of_one_tick_has_its_bid_there() -> None:
    """Nothing is below a tick: the ask gives way, also where a buyer moved the price."""
    for book in books(inside(a_candle((0.1, 0.1, 0.1, 0.1)), 0.05)):
        assert (book.bids, book.asks[0][0]) == (((0.1, book.bids[0][1]),), 0.2)


def test_which_extreme_comes_first_is_a_matter_of_the_seed() -> None:
    def high_first(seed: int) -> bool:
        paid = [trade.price for trade in prints(inside(a_candle(), seed=seed))]
        return paid.index(100.8) < paid.index(99.6)

    assert 8 < sum(high_first(seed) for seed in range(40)) < 32


def test_a_bar_opens_up_or_down_from_the_close_before_it() -> None:
    up, down = inside(a_candle(), 99.0), inside(a_candle(), 101.0)
    assert books(up)[0].asks[0][0] == 100.0 and prints(up)[0].side == "buy"
    assert books(down)[0].bids[0][0] == 100.0 and prints(down)[0].side == "sell"


def test_equal_arguments_give_equal_bars_and_every_other_one_differs() -> None:
    same = inside(a_candle(buys=1.0), 99.0, seed=3)
    assert inside(a_candle(buys=1.0), 99.0, seed=3) == same
    assert inside(a_candle(buys=1.0), 99.0, seed=4) != same
    assert synthesise(a_candle(buys=1.0), 99.0, GRID, DepthSettings(seed=3), 1) != same
    later = inside(a_candle(buys=1.0, close=CLOSE + MINUTE * MS_NS), 99.0, seed=3)
    assert [t.qty for t in prints(later)] != [t.qty for t in prints(same)]
    assert not {t.trade_id for t in prints(later)} & {t.trade_id for t in prints(same)}


def test_more_depth_share_shows_more_and_a_quiet_bar_shows_a_lot_a_level() -> None:
    def shown(**how: Any) -> float:
        return sum(qty for book in books(inside(a_candle(volume=10_000.0), **how)) for _, qty in book.bids) / 12

    assert 3_000 < shown(depth_share=0.5) < 7_000
    assert shown(depth_share=1.0) == pytest.approx(2 * shown(depth_share=0.5), rel=1e-3)
    quiet = inside(a_candle(volume=0.0))
    assert prints(quiet) == [] == partials(quiet)
    assert {qty for book in books(quiet) for _, qty in (*book.bids, *book.asks)} == {0.001}


def test_a_bar_of_fewer_lots_than_prices_is_cut_into_parts_of_a_lot() -> None:
    tape = prints(inside(a_candle(volume=0.001)))
    assert {100.0, 100.8, 99.6, 100.3} <= {trade.price for trade in tape}
    assert sum(written(trade.qty) for trade in tape) == Decimal("0.001")


def test_a_flat_bar_of_one_lot_is_one_print() -> None:
    (trade,) = prints(inside(a_candle((100.0, 100.0, 100.0, 100.0), 0.001)))
    assert (trade.price, trade.qty) == (100.0, 0.001)


def test_a_volume_off_the_grid_puts_its_rest_into_the_last_print() -> None:
    tape = prints(inside(a_candle(volume=1.23456789)))
    assert sum(written(trade.qty) for trade in tape) == Decimal("1.23456789")
    assert all(written(trade.qty) % GRID.lot_size == 0 for trade in tape[:-1])


def test_one_sided_flow_prints_on_one_side() -> None:
    for buys, side in ((0.0, "sell"), (2.5, "buy")):
        tape = prints(inside(a_candle(buys=buys)))
        assert {trade.side for trade in tape} == {side}
        assert (tape[0].price, tape[-1].price) == (100.0, 100.3)


@pytest.mark.parametrize(
    ("candle", "message"),
    [
        (a_candle((NAN, 100.8, 99.6, 100.3)), "candle of X at 1735689660000000000: open nan, .* is no bar"),
        (a_candle((100.0, 99.0, 99.6, 100.3)), "high 99.0, low 99.6"),
        (a_candle((100.0, 100.8, 0.0, 100.3)), "low 0.0"),
        (a_candle((100.0, 100.8, 99.6, 100.9)), "close 100.9"),
        (a_candle((100.0, math.inf, 99.6, 100.3)), "high inf"),
        (a_candle(volume=NAN), "volume nan"),
        (a_candle(volume=-1.0), "volume -1.0"),
        (a_candle(buys=math.inf), "buy volume inf"),
    ],
)
def test_a_candle_that_is_none_is_refused(candle: Candle, message: str) -> None:
    with pytest.raises(DataError, match=message):
        inside(candle)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="steps = 3: expected `int` >= 4"):
        inside(a_candle(), steps=3)
    with pytest.raises(ConfigError, match=r"depth_share = 0\.0: expected `float` > 0\.0"):
        inside(a_candle(), depth_share=0.0)


def test_a_made_up_bar_can_be_traded_on() -> None:
    """A market order at the bar's start fills at the touch; a bid at the low fills when prints pass its queue."""
    market, fills = BookMatching({"X": GRID}, 0, 0, queue_ahead=0.0), []
    start = CLOSE - MINUTE * MS_NS
    market.submit(an_order("take", 3, "buy"), None, "ioc", start)
    market.submit(an_order("make", 3, "buy"), GRID.ticks(99.6), "gtc", start)
    for event in inside(a_candle(), 99.0):
        if isinstance(event, BookSnapshot):
            fills += market.book(event)
        elif isinstance(event, Trade):
            fills += market.trade(event)
    take, make = (fill for fill in fills if isinstance(fill, Fill))
    assert (take.client_order_id, take.price_ticks, liquidity(take), take.ts_event) == (
        "take",
        1_000,
        "taker",
        start + MS_NS,
    )
    assert (make.client_order_id, make.price_ticks, make.lots, liquidity(make)) == ("make", 996, 3, "maker")


def a_book(ts: int, symbol: str = "X", bid: float = 99.0) -> BookSnapshot:
    return BookSnapshot(symbol=symbol, ts_event=ts, ts_recv=ts, seq=None, bids=((bid, 1.0),), asks=((100.0, 1.0),))


def a_trade(ts: int, price: float = 100.0, qty: float = 1.0) -> Trade:
    return Trade(symbol="X", ts_event=ts, ts_recv=ts, price=price, qty=qty, side="buy")


def test_a_recording_is_cut_after_the_open_up_to_the_close() -> None:
    ms = MS_NS
    events = [a_book(0), a_trade(1), a_book(10 * ms), a_trade(10 * ms), a_book(10 * ms + 1), a_book(25 * ms, "Y")]
    events += [a_book(40 * ms), a_trade(50 * ms), a_trade(50 * ms + 1)]
    first, second, third = recorded(events, [10 * ms, 20 * ms, 50 * ms], 10)
    assert first == [a_trade(1), a_book(10 * ms), a_trade(10 * ms)]
    assert second == [a_book(10 * ms + 1)]
    assert third == [a_trade(50 * ms)], "25 and 40 lie in the hole, 40 is the open"


def test_a_recording_out_of_order_is_put_in_order_and_one_instant_keeps_its_own() -> None:
    events = [a_trade(5), a_book(5), a_trade(3)]
    assert recorded(events, [10 * MS_NS], 10) == [[a_trade(3), a_trade(5), a_book(5)]]


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (a_book(7, bid=101.0), "recorded BookSnapshot of X at 7: crossed, bid 101.0 is not below ask 100.0"),
        (a_trade(7, price=NAN), "recorded Trade of X at 7: 1.0 at nan"),
        (a_trade(7, qty=0.0), "recorded Trade of X at 7: 0.0 at 100.0"),
        (
            BookDelta(symbol="X", ts_event=7, ts_recv=7, prev_seq=1, seq=2),
            "recorded BookDelta of X at 7: neither a whole book nor a print",
        ),
    ],
)
def test_a_recording_with_a_fault_is_refused(event: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        recorded([a_trade(1), event], [10 * MS_NS], 10)


def test_prints_of_consecutive_bars_carry_increasing_ids() -> None:
    bars = [a_candle(close=CLOSE + k * MINUTE * MS_NS) for k in range(3)]
    ids = [trade.trade_id or 0 for bar in bars for trade in prints(inside(bar))]
    assert all(a < b for a, b in pairwise(ids)) and ids[-1] < 2**53
