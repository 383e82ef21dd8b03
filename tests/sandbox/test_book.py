"""Matching against a book, by hand: 1 tick is 1 USD and 1 lot is 1 unit, so that every number can be checked."""

import copy
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flea_lab.errors import ConfigError, DataError
from flea_lab.ledger import MARK, apply_fill, empty_book, equity_uusd
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import BookSnapshot, Side, Trade
from flea_lab.model.trading import Accepted, Cancelled, Fill, NewOrder, OrderReport
from flea_lab.sandbox.book import BookMatching, Tif, liquidity
from flea_lab.sandbox.matching import fee_uusd
from tests.execution.orders import an_order

GRID = Instrument(tick_size=Decimal(1), lot_size=Decimal(1))
MAKER, TAKER = 10_000, 50_000  # 1 and 5 bp
NAN = math.nan
Levels = list[tuple[float, float]]


def matching(latency_ns: int = 0, queue_ahead: float = 1.0, maker: int = MAKER) -> BookMatching:
    return BookMatching({"X": GRID, "Y": GRID}, maker, TAKER, latency_ns, queue_ahead)


def book(ts: int, bids: Levels, asks: Levels, symbol: str = "X") -> BookSnapshot:
    return BookSnapshot(symbol=symbol, ts_event=ts, ts_recv=ts, seq=None, bids=tuple(bids), asks=tuple(asks))


def plain(ts: int) -> BookSnapshot:
    """99 x 5, 98 x 5 against 101 x 2, 102 x 3, 105 x 4."""
    return book(ts, [(99, 5), (98, 5)], [(101, 2), (102, 3), (105, 4)])


def trade(ts: int, price: float, qty: float, side: Side) -> Trade:
    return Trade(symbol="X", ts_event=ts, ts_recv=ts, price=price, qty=qty, side=side)


def send(
    market: BookMatching, ts: int, side: Side, lots: int, limit: int | None = None, name: str = "a", tif: Tif = "gtc"
) -> tuple[OrderReport, ...]:
    return market.submit(an_order(name, lots, side), limit, tif, ts)


def seen(reports: tuple[OrderReport, ...]) -> list[tuple[Any, ...]]:
    """Fills as (id, lots, ticks, reference, "taker" or "maker"), the rest as (id, kind)."""
    return [
        (r.client_order_id, r.lots, r.price_ticks, r.reference_ticks, liquidity(r))
        if isinstance(r, Fill)
        else (r.client_order_id, type(r).__name__)
        for r in reports
    ]


# takers: what a book of 99 x 5, 98 x 5 against 101 x 2, 102 x 3, 105 x 4 gives
TAKEN = [
    ("buy", 1, None, "ioc", [(1, 101)], ""),
    ("buy", 4, None, "ioc", [(2, 101), (2, 102)], ""),
    ("buy", 12, None, "ioc", [(2, 101), (3, 102), (4, 105)], "cancelled"),
    ("sell", 7, None, "gtc", [(5, 99), (2, 98)], ""),
    ("sell", 11, None, "gtc", [(5, 99), (5, 98)], "cancelled"),
    ("buy", 4, 101, "ioc", [(2, 101)], "cancelled"),
    ("buy", 4, 101, "gtc", [(2, 101)], "rests"),
    ("buy", 5, 104, "gtc", [(2, 101), (3, 102)], ""),
    ("buy", 1, 100, "ioc", [], "cancelled"),
    ("sell", 6, 99, "ioc", [(5, 99)], "cancelled"),
    ("sell", 1, 100, "gtc", [], "rests"),
]


@pytest.mark.parametrize(("side", "lots", "limit", "tif", "fills", "end"), TAKEN)
def test_a_taker_walks_the_book_to_its_limit(
    side: Side, lots: int, limit: int | None, tif: Tif, fills: list[tuple[int, int]], end: str
) -> None:
    market = matching()
    market.book(plain(5))
    accepted, *reports = send(market, 5, side, lots, limit, tif=tif)
    assert accepted == Accepted(client_order_id="a", ts_event=5)
    touch = 101 if side == "buy" else 99
    wanted: list[tuple[Any, ...]] = [("a", size, ticks, touch, "taker") for size, ticks in fills]
    assert seen(tuple(reports)) == wanted + ([("a", "Cancelled")] if end == "cancelled" else [])
    assert (seen(market.cancel("a", 6)) == [("a", "Cancelled")]) == (end == "rests")


def test_what_was_taken_is_gone_until_the_next_snapshot_of_that_symbol() -> None:
    market = matching()
    market.book(plain(5))
    assert seen(send(market, 5, "buy", 3))[1:] == [("a", 2, 101, 101, "taker"), ("a", 1, 102, 101, "taker")]
    assert seen(send(market, 5, "buy", 1, name="b"))[1:] == [("b", 1, 102, 102, "taker")]
    market.book(book(6, [(9, 1)], [(10, 1)], "Y"))
    assert seen(send(market, 5, "buy", 2, name="c"))[1:] == [("c", 1, 102, 102, "taker"), ("c", 1, 105, 102, "taker")]
    market.book(plain(6))
    assert seen(send(market, 6, "buy", 1, name="d"))[1:] == [("d", 1, 101, 101, "taker")]


def test_a_taker_does_not_act_on_a_book_from_before_its_time() -> None:
    market = matching()
    market.book(plain(5))
    assert seen(send(market, 6, "buy", 1)) == [("a", "Accepted")]
    assert market.trade(trade(7, 101, 1, "buy")) == () and market.advance(8) == ()
    assert seen(market.book(plain(9))) == [("a", 1, 101, 101, "taker")]


def test_an_ioc_that_does_not_cross_is_cancelled_by_a_book_of_its_time_only() -> None:
    market = matching()
    market.book(plain(5))
    assert seen(send(market, 6, "buy", 1, 100, tif="ioc")) == [("a", "Accepted")]
    assert market.trade(trade(7, 99, 9, "sell")) == ()
    assert market.book(plain(8)) == (Cancelled(client_order_id="a", ts_event=8),)


def test_a_resting_order_is_served_before_one_that_just_arrives() -> None:
    market = matching(latency_ns=2)
    market.book(plain(1))
    send(market, 1, "buy", 3, 99, "rests")
    market.book(plain(3))
    send(market, 4, "buy", 3, None, "comes")
    assert seen(market.book(book(6, [(96, 1)], [(98, 4), (105, 9)]))) == [
        ("rests", 3, 99, 99, "maker"),
        ("comes", 1, 98, 98, "taker"),
        ("comes", 2, 105, 98, "taker"),
    ]


def test_a_print_that_comes_late_does_not_fill_an_order_that_came_after_it() -> None:
    market = matching()
    market.book(plain(5))
    send(market, 9, "buy", 1, 99)
    assert market.trade(trade(8, 90, 9, "sell")) == ()
    assert seen(market.trade(trade(9, 90, 9, "sell"))) == [("a", 1, 99, 99, "maker")]


def test_an_order_before_the_first_book_waits_for_it() -> None:
    market = matching()
    assert seen(send(market, 5, "buy", 1, 99)) == [("a", "Accepted")]
    assert market.trade(trade(6, 90, 5, "sell")) == ()
    assert market.book(plain(7)) == ()
    assert seen(market.trade(trade(8, 99, 6, "sell"))) == [("a", 1, 99, 99, "maker")]


@pytest.mark.parametrize(
    ("share", "shown", "eaten"), [(1.0, 5, 5), (0.5, 5, 3), (0.5, 4, 2), (0.1, 10, 1), (0.001, 5, 1), (0.0, 5, 0)]
)
def test_the_queue_ahead_is_a_share_of_what_is_displayed_rounded_up(share: float, shown: int, eaten: int) -> None:
    market = matching(queue_ahead=share)
    market.book(book(5, [(99, shown)], [(101, 5)]))
    send(market, 5, "buy", 2, 99)
    if eaten:
        assert market.trade(trade(6, 99, eaten, "sell")) == ()
    assert seen(market.trade(trade(7, 99, 9, "sell"))) == [("a", 2, 99, 99, "maker")]


# a buy of 4 at 99 behind a queue of 5: prints (price, size, aggressor) and the lots filled by each
QUEUED: list[tuple[list[tuple[float, float, Side]], list[int]]] = [
    ([(99, 5, "sell"), (99, 1, "sell")], [0, 1]),
    ([(99, 7, "sell")], [2]),
    ([(99, 3, "sell"), (99, 3, "sell"), (99, 9, "sell")], [0, 1, 3]),
    ([(99, 50, "buy")], [0]),  # a buyer at 99 took an offer, not our bid
    ([(100, 50, "sell")], [0]),
    ([(98, 3, "sell"), (99, 9, "sell")], [3, 1]),  # through: the queue is gone
    ([(98, 3, "buy")], [3]),
    ([(98, 50, "sell"), (99, 9, "sell")], [4, 0]),
]


@pytest.mark.parametrize(("prints", "filled"), QUEUED)
def test_prints_eat_the_queue_first_and_then_fill(prints: list[tuple[float, float, Side]], filled: list[int]) -> None:
    market = matching()
    market.book(plain(5))
    send(market, 5, "buy", 4, 99)
    got = [market.trade(trade(6 + i, *values)) for i, values in enumerate(prints)]
    assert [sum(fill.lots for fill in fills if isinstance(fill, Fill)) for fills in got] == filled
    assert all(fill[2:] == (99, 99, "maker") for fills in got for fill in seen(fills))


def test_a_sell_rests_as_a_buy_does_the_other_way_up() -> None:
    market = matching()
    market.book(plain(5))
    send(market, 5, "sell", 4, 101)
    assert market.trade(trade(6, 101, 9, "sell")) == ()
    assert seen(market.trade(trade(7, 101, 3, "buy"))) == [("a", 1, 101, 101, "maker")]
    assert seen(market.trade(trade(8, 102, 2, "buy"))) == [("a", 2, 101, 101, "maker")]
    assert seen(market.book(book(9, [(103, 9)], [(104, 1)]))) == [("a", 1, 101, 101, "maker")]


def test_orders_share_a_print_best_price_first_then_first_come() -> None:
    market = matching()
    market.book(plain(5))
    send(market, 5, "buy", 2, 99, "late price")
    send(market, 5, "buy", 3, 99, "later")
    send(market, 5, "buy", 4, 100, "best")
    assert seen(market.trade(trade(6, 99, 12, "sell"))) == [
        ("best", 4, 100, 100, "maker"),  # 8 left, 5 of them for the queue at 99
        ("late price", 2, 99, 99, "maker"),
        ("later", 1, 99, 99, "maker"),
    ]


def test_an_opposite_touch_through_the_limit_fills_what_it_displays_and_one_at_the_limit_does_not() -> None:
    market = matching()
    market.book(plain(5))
    send(market, 5, "buy", 9, 99)
    assert market.book(book(6, [(97, 1)], [(99, 50)])) == ()
    assert seen(market.book(book(7, [(96, 1)], [(97, 2), (98, 3), (99, 50)]))) == [("a", 5, 99, 99, "maker")]
    assert seen(send(market, 7, "buy", 1, name="b"))[1:] == [("b", 1, 99, 99, "taker")], "97 and 98 are gone"


def test_what_a_crossing_limit_leaves_rests_at_its_limit_as_a_maker() -> None:
    market = matching()
    market.book(plain(5))
    send(market, 5, "buy", 4, 101)
    assert seen(market.trade(trade(6, 101, 1, "sell"))) == [("a", 1, 101, 101, "maker")]
    assert seen(market.book(plain(7))) == [], "101 is at the limit, not through it"
    assert seen(market.book(book(8, [(99, 1)], [(100, 9)]))) == [("a", 1, 101, 101, "maker")]


# latency 10: sent at 100, so nothing stamped before 110 counts
def test_an_order_acts_on_nothing_stamped_before_its_latency_is_over() -> None:
    market = matching(latency_ns=10)
    market.book(plain(100))
    assert seen(send(market, 100, "buy", 1)) == [("a", "Accepted")]
    assert market.book(plain(109)) == ()
    assert seen(market.book(plain(110))) == [("a", 1, 101, 101, "taker")]
    send(market, 110, "buy", 1, 99, "b")
    assert market.trade(trade(119, 98, 9, "sell")) == ()
    assert seen(market.trade(trade(120, 98, 9, "sell"))) == [("b", 1, 99, 99, "maker")]


def test_an_order_that_does_not_cross_queues_where_its_latency_ends() -> None:
    market = matching(latency_ns=10)
    market.book(plain(100))
    send(market, 100, "buy", 1, 99)
    market.book(book(105, [(99, 2)], [(101, 5)]))
    assert market.advance(110) == ()
    market.book(book(111, [(99, 50)], [(101, 5)]))
    assert seen(market.trade(trade(112, 99, 3, "sell"))) == [("a", 1, 99, 99, "maker")], "2 were ahead, not 50"


def test_a_fill_overtakes_a_cancel_that_is_on_its_way() -> None:
    market = matching(latency_ns=10)
    market.book(plain(90))
    send(market, 90, "buy", 3, 99)
    market.book(plain(100))
    assert market.cancel("a", 100) == ()
    assert market.cancel("a", 101) == (), "one is on its way"
    assert seen(market.trade(trade(109, 98, 1, "sell"))) == [("a", 1, 99, 99, "maker")]
    reports = market.trade(trade(110, 98, 1, "sell"))
    assert reports == (Cancelled(client_order_id="a", ts_event=110),), "the cancel acts before what is stamped with it"


def test_a_cancel_that_comes_after_the_last_fill_says_nothing() -> None:
    market = matching(latency_ns=10)
    market.book(plain(90))
    send(market, 90, "buy", 1, 99)
    market.book(plain(100))
    market.cancel("a", 100)
    assert seen(market.trade(trade(105, 98, 1, "sell"))) == [("a", 1, 99, 99, "maker")]
    assert market.advance(200) == () and market.cancel("a", 200) == ()


def test_a_cancel_may_overtake_the_first_book_of_its_order() -> None:
    market = matching(latency_ns=10)
    send(market, 100, "buy", 1)
    market.cancel("a", 101)
    assert market.book(plain(120)) == (Cancelled(client_order_id="a", ts_event=111),)


def test_time_alone_carries_out_a_cancel() -> None:
    market = matching(latency_ns=10)
    send(market, 100, "buy", 1, 50)
    market.cancel("a", 100)
    assert market.advance(109) == ()
    assert market.advance(300) == (Cancelled(client_order_id="a", ts_event=110),)


def test_a_cancel_without_latency_is_done_at_once_and_once() -> None:
    market = matching()
    market.book(plain(5))
    send(market, 5, "buy", 1, 99)
    assert market.cancel("a", 6) == (Cancelled(client_order_id="a", ts_event=6),)
    assert market.cancel("a", 7) == () == market.cancel("never seen", 7)
    assert market.trade(trade(8, 90, 9, "sell")) == ()


def test_fees_are_the_makers_or_the_takers_and_a_rebate_is_negative() -> None:
    market = matching(maker=-10_000)
    market.book(plain(5))
    _, taken = send(market, 5, "buy", 1)
    send(market, 5, "buy", 1, 99, "b")
    (made,) = market.trade(trade(6, 98, 1, "sell"))
    assert isinstance(taken, Fill) and isinstance(made, Fill)
    assert taken.fee_uusd == 50_500  # 101 USD at 5 bp
    assert made.fee_uusd == -9_900  # 99 USD at -1 bp
    assert taken.fee_uusd == fee_uusd(1, 101, GRID.unit_num, GRID.unit_den, TAKER)


def test_fill_ids_number_the_fills_of_an_order() -> None:
    market = matching()
    market.book(plain(5))
    fills = [*send(market, 5, "buy", 6, 102), *market.trade(trade(6, 98, 1, "sell"))]
    assert [fill.fill_id for fill in fills if isinstance(fill, Fill)] == ["a:1t", "a:2t", "a:3m"]


def test_sizes_are_cut_to_whole_lots_and_prices_that_share_a_tick_are_one_level() -> None:
    market = matching()
    market.book(book(5, [(99, 5)], [(100.8, 0.4), (100.9, 1.6), (101.2, 2.9), (102, 1)]))
    assert seen(send(market, 5, "buy", 9))[1:-1] == [("a", 3, 101, 101, "taker"), ("a", 1, 102, 101, "taker")]
    send(market, 5, "buy", 9, 98, "b")
    assert market.trade(trade(6, 97, 0.9, "sell")) == ()


def test_a_size_on_the_grid_loses_no_lot_to_its_float() -> None:
    fine = Instrument(tick_size=Decimal(1), lot_size=Decimal("0.1"))
    market = BookMatching({"X": fine}, 0, 0)
    market.book(book(5, [(99, 1)], [(101, 0.3)]))
    assert 0.3 / 0.1 < 3
    assert seen(send(market, 5, "buy", 3))[1:] == [("a", 3, 101, 101, "taker")]


BAD: list[tuple[Any, str]] = [
    (book(9, [], [(101, 1)]), "book of X at 9: no bids"),
    (book(9, [(99, 1)], []), "book of X at 9: no asks"),
    (book(9, [(101, 1)], [(99, 1)]), "book of X at 9: crossed, bid 101 is not below ask 99"),
    (book(9, [(100.1, 1)], [(100.2, 1)]), "book of X at 9: crossed in ticks, bid 100 is not below ask 100"),
    (book(9, [(NAN, 1)], [(99, 1)]), "book of X at 9: bids hold 1 at nan"),
    (book(9, [(99, NAN)], [(101, 1)]), "book of X at 9: bids hold nan at 99"),
    (book(9, [(99, 0.5)], [(101, 1)]), "book of X at 9: no bids of a whole lot"),
    (book(9, [(99, 1)], [(3e9, 1)]), "price 3000000000.0 is not between 1 and 2147483647 ticks of 1"),
    (book(4, [(99, 1)], [(101, 1)]), "book of X at 4 is older than the one at 5"),
    (book(9, [(99, 1)], [(101, 1)], "Z"), "Z is not traded here, known are X, Y"),
    (trade(9, NAN, 1, "buy"), "price nan is not between 1 and 2147483647 ticks of 1"),
    (trade(9, 100, NAN, "buy"), "trade of X at 9: size nan is not a positive number"),
    (trade(9, 100, 0, "buy"), "trade of X at 9: size 0 is not a positive number"),
]


@pytest.mark.parametrize(("event", "message"), BAD)
def test_what_cannot_be_is_refused_and_changes_nothing(event: Any, message: str) -> None:
    market = matching(latency_ns=2)
    market.book(plain(5))
    send(market, 3, "buy", 1, 98)
    send(market, 4, "buy", 1, name="b")
    market.cancel("a", 4)  # all three would act at 6, before anything stamped 9
    before = copy.deepcopy(vars(market))
    with pytest.raises(DataError, match=f"^{message}$"):
        market.trade(event) if isinstance(event, Trade) else market.book(event)
    assert vars(market) == before


def an_unknown() -> NewOrder:
    return NewOrder(**{name: getattr(an_order(), name) for name in NewOrder.__struct_fields__} | {"symbol": "Z"})


@pytest.mark.parametrize(
    ("order", "limit", "message"),
    [
        (an_unknown(), 99, "Z is not traded here"),
        (an_order("a", 0), 99, "order a of 0 lots, at least 1"),
        (an_order("a", 1), 0, "order a with its limit at 0 ticks, at least 1"),
        (an_order("here", 1), 99, "order here is working already"),
    ],
)
def test_an_order_that_cannot_be_is_refused_and_changes_nothing(
    order: NewOrder, limit: int | None, message: str
) -> None:
    market = matching()
    send(market, 1, "buy", 1, 50, "here")
    before = copy.deepcopy(vars(market))
    with pytest.raises(DataError, match=message):
        market.submit(order, limit, "gtc", 5)
    assert vars(market) == before


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"queue_ahead \(nan\) must be a share of 1"):
        matching(queue_ahead=NAN)
    with pytest.raises(ConfigError, match=r"queue_ahead \(1.5\) must be a share of 1"):
        matching(queue_ahead=1.5)
    with pytest.raises(ConfigError, match=r"latency_ns \(-1\) must not be negative"):
        matching(latency_ns=-1)


sides = st.sampled_from(["buy", "sell"])
prices = st.integers(90, 110)


@st.composite
def scripts(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """Books, prints, orders and cancels at increasing times."""
    script: list[tuple[Any, ...]] = []
    ts = 0
    for i in range(draw(st.integers(1, 25))):
        ts += draw(st.integers(0, 4))
        kind = draw(st.sampled_from(["book", "book", "trade", "order", "order", "cancel"]))
        if kind == "book":
            middle = draw(st.integers(95, 105))
            sizes = st.lists(st.integers(1, 9), min_size=1, max_size=4)
            bids = [(middle - 1 - k, qty) for k, qty in enumerate(draw(sizes))]
            asks = [(middle + 1 + k, qty) for k, qty in enumerate(draw(sizes))]
            script.append((book(ts, bids, asks),))
        elif kind == "trade":
            script.append((trade(ts, draw(prices), draw(st.integers(1, 12)), draw(sides)),))
        elif kind == "order":
            order = an_order(f"o{i}", draw(st.integers(1, 15)), draw(sides))
            script.append((order, draw(st.none() | prices), draw(st.sampled_from(["gtc", "ioc"])), ts))
        else:
            script.append((f"o{draw(st.integers(0, 25))}", ts))
    return script


def play(market: BookMatching, script: list[tuple[Any, ...]]) -> list[tuple[OrderReport, ...]]:
    calls = {BookSnapshot: market.book, Trade: market.trade, NewOrder: market.submit, str: market.cancel}
    return [calls[type(step[0])](*step) for step in script]  # type: ignore[operator]


settings_of = st.tuples(st.integers(0, 5), st.sampled_from([0.0, 0.5, 1.0]))


@given(scripts(), settings_of)
def test_fills_and_what_was_cancelled_are_the_order_and_never_worse_than_its_limit(
    script: list[tuple[Any, ...]], how: tuple[int, float]
) -> None:
    market = matching(*how)
    reports = [report for some in play(market, script) for report in some]
    orders = {step[0].client_order_id: step for step in script if isinstance(step[0], NewOrder)}
    for name in orders:
        reports += market.cancel(name, 1_000)
    reports += market.advance(2_000)
    for name, (order, limit, _, sent) in orders.items():
        accepted, *mine = [report for report in reports if report.client_order_id == name]
        fills = [report for report in mine if isinstance(report, Fill)]
        assert isinstance(accepted, Accepted)
        if sum(fill.lots for fill in fills) == order.lots:
            assert mine == fills, "a filled order is not cancelled"
        else:
            assert sum(fill.lots for fill in fills) < order.lots
            assert mine[:-1] == fills and isinstance(mine[-1], Cancelled), "cancelled once, and that is the end"
        assert all(fill.lots > 0 and fill.side == order.side and fill.ts_event >= sent + how[0] for fill in fills)
        for fill in fills:
            assert limit is None or (fill.price_ticks <= limit if fill.side == "buy" else fill.price_ticks >= limit)
            assert liquidity(fill) == "taker" or fill.price_ticks == fill.reference_ticks == limit
    ids = [report.fill_id for report in reports if isinstance(report, Fill)]
    assert len(set(ids)) == len(ids)


@given(scripts(), settings_of)
def test_no_more_is_filled_than_was_displayed_or_printed(script: list[tuple[Any, ...]], how: tuple[int, float]) -> None:
    market = matching(*how)
    shown: dict[tuple[str, int], int] = {}  # what is left of the standing book, by the side of its taker
    for step, reports in zip(script, play(market, script), strict=True):
        event = step[0]
        if isinstance(event, BookSnapshot):
            shown = {("buy", int(p)): int(q) for p, q in event.asks} | {("sell", int(p)): int(q) for p, q in event.bids}
        made = [r for r in reports if isinstance(r, Fill) and liquidity(r) == "maker"]
        taken = [r for r in reports if isinstance(r, Fill) and liquidity(r) == "taker"]
        if isinstance(event, Trade):
            assert sum(fill.lots for fill in made) <= event.qty
            assert not taken, "prints do not make takers"
        for fill in made if isinstance(event, BookSnapshot) else []:
            sign, left = (1 if fill.side == "buy" else -1), fill.lots
            for side, ticks in sorted(shown, key=lambda level: sign * level[1]):
                if side == fill.side and sign * ticks < sign * fill.price_ticks:
                    part = min(left, shown[side, ticks])
                    shown[side, ticks] -= part
                    left -= part
            assert left == 0
        for fill in taken:
            shown[fill.side, fill.price_ticks] -= fill.lots
        assert all(lots >= 0 for lots in shown.values())


@given(scripts(), settings_of)
def test_money_is_conserved(script: list[tuple[Any, ...]], how: tuple[int, float]) -> None:
    """What the desk's ledger makes of the fills is what the other side paid or got, less the fees, to the
    micro-dollar."""
    fills = [r for some in play(matching(*how), script) for r in some if isinstance(r, Fill)]
    account, cash, others = empty_book([GRID]), 0, 0
    account[0, MARK] = 100
    for fill in fills:
        signed = fill.lots if fill.side == "buy" else -fill.lots
        rate = MAKER if liquidity(fill) == "maker" else TAKER
        assert fill.fee_uusd == fee_uusd(fill.lots, fill.price_ticks, GRID.unit_num, GRID.unit_den, rate)
        cash += apply_fill(account, 0, signed, fill.price_ticks, fill.fee_uusd, fill.reference_ticks)
        others += signed * (fill.price_ticks - 100) * 1_000_000
    assert equity_uusd(account, cash) + others + sum(fill.fee_uusd for fill in fills) == 0


@given(scripts(), settings_of)
def test_playing_twice_is_equal(script: list[tuple[Any, ...]], how: tuple[int, float]) -> None:
    assert play(matching(*how), script) == play(matching(*how), script)
