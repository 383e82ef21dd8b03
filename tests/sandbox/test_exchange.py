"""Orders, money and names of the sandbox exchange, by hand and against an independent sum."""

from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flea_lab.ledger import FEES, FUNDING
from flea_lab.model.market import MS_NS, BookSnapshot, Trade
from flea_lab.sandbox.book import BookMatching
from flea_lab.sandbox.exchange import SandboxExchange
from flea_lab.sandbox.matching import OpenMatching
from flea_lab.sandbox.order import Denied, Event, Execution, Order, OrderRequest
from tests.sandbox.stages import GRID, asked

USD = 1_000_000
GRIDS = {"X": GRID, "Y": GRID}


def an_exchange(
    fee_e8: int = 50_000, slippage_e8: int = 0, leverage: float = 10.0, usd: int = 1_000
) -> SandboxExchange:
    """One account, "me", with X and Y marked at 100 and 200 USD."""
    exchange = SandboxExchange(("X", "Y"), GRIDS, OpenMatching(GRIDS, fee_e8, slippage_e8), leverage)
    exchange.mark("X", 1_000)
    exchange.mark("Y", 2_000)
    exchange.open_account("me", usd * USD)
    return exchange


def placed(exchange: SandboxExchange, name: str = "a", at: int = 1, **values: Any) -> Order:
    answer = exchange.submit("me", asked(name, **values), at)
    assert not isinstance(answer, Denied), answer
    return answer[0]


def denied(exchange: SandboxExchange, request: OrderRequest, at: int = 1) -> Denied:
    before = len(exchange.customers["me"].events)
    answer = exchange.submit("me", request, at)
    assert isinstance(answer, Denied)
    assert request.client_order_id not in exchange.customers["me"].orders, "it leaves no trace"
    assert len(exchange.customers["me"].events) == before
    return answer


def told(exchange: SandboxExchange) -> list[tuple[int, str]]:
    """The news as (seq, status or "fill")."""
    return [(e.seq, "fill" if isinstance(e.what, Execution) else e.what.status) for e in exchange.news()]


def executions(exchange: SandboxExchange) -> list[Execution]:
    return [e.what for e in exchange.customers["me"].events if isinstance(e.what, Execution)]


def test_an_order_rests_until_the_open_and_every_change_is_counted() -> None:
    exchange = an_exchange()
    order = placed(exchange, size="0.500")
    assert (order.status, order.lots, order.order_id, order.tif) == ("open", 500, "o-1", "ioc")
    exchange.open("Y", 2_000, 5)
    assert told(exchange) == [(1, "open")]
    exchange.open("X", 1_010, 5)
    assert told(exchange) == [(2, "fill"), (3, "filled")]
    (done,) = executions(exchange)
    assert (done.fill.price_ticks, done.fill.lots, done.fill.fee_uusd) == (1_010, 500, 25_250)
    assert (done.fill.client_order_id, done.fill.fill_id, done.liquidity) == ("a", "f-1", "taker")
    assert exchange.customers["me"].ledger.cash_uusd == 1_000 * USD - 50_500_000 - 25_250
    assert exchange.customers["me"].lots("X") == 500


def test_the_same_request_again_is_the_same_order_for_ever() -> None:
    exchange = an_exchange()
    first = placed(exchange, size="0.5", valid_until=10)
    assert exchange.submit("me", asked("a", size="0.500"), 2) == (first, False)
    exchange.open("X", 1_000, 5)
    again = exchange.submit("me", asked("a", size="0.5", valid_until=1), 99 * MS_NS)
    assert not isinstance(again, Denied)
    assert (again[0].status, again[1]) == ("filled", False), "also after it is over, and after its validity"
    assert len(executions(exchange)) == 1


@pytest.mark.parametrize(
    "other",
    [{"size": "2"}, {"side": "sell"}, {"symbol": "Y"}, {"reduce_only": True}, {"tif": "gtc"}, {"size_usd": "100"}],
)
def test_another_request_under_the_same_id_is_a_conflict(other: dict[str, Any]) -> None:
    exchange = an_exchange()
    order = placed(exchange)
    answer = exchange.submit("me", asked("a", **other), 2)
    assert isinstance(answer, Denied)
    assert (answer.status, answer.code) == (409, "client_order_id_conflict")
    assert exchange.customers["me"].orders == {"a": order}


def test_ids_belong_to_their_account() -> None:
    exchange = an_exchange()
    exchange.open_account("you", 1_000 * USD)
    placed(exchange, size="1")
    yours = exchange.submit("you", asked("a", size="2"), 1)
    assert not isinstance(yours, Denied)
    exchange.open("X", 1_000, 5)
    assert [c.lots("X") for c in exchange.customers.values()] == [1_000, 2_000]
    assert [e.seq for e in exchange.news() if e.account_id == "you"] == [1, 2, 3]
    with pytest.raises(ValueError, match="account 'you' is there already"):
        exchange.open_account("you", 1)


@pytest.mark.parametrize(
    ("values", "status", "code"),
    [
        ({"symbol": "Z"}, 404, "unknown_symbol"),
        ({"size": "0"}, 400, "invalid_size"),
        ({"size": "-1"}, 400, "invalid_size"),
        ({"size": "NaN"}, 400, "invalid_size"),
        ({"size": "Infinity"}, 400, "invalid_size"),
        ({"size": "1e99"}, 400, "invalid_size"),
        ({"size": "1", "size_usd": "1"}, 400, "invalid_size"),
        ({"size_usd": "NaN"}, 400, "invalid_size"),
        ({"size": "0.0005"}, 400, "not_on_grid"),
        ({"size": "1e-999"}, 400, "not_on_grid"),
        ({"size": "0.049"}, 400, "below_minimum"),
        ({"size_usd": "4.99"}, 400, "below_minimum"),
        ({"size_usd": "0.01"}, 400, "below_minimum"),
        ({"limit_price": "100"}, 400, "invalid_price"),
        ({"type": "limit"}, 400, "invalid_price"),
        ({"type": "limit", "limit_price": "0"}, 400, "invalid_price"),
        ({"type": "limit", "limit_price": "NaN"}, 400, "invalid_price"),
        ({"type": "limit", "limit_price": "100.05"}, 400, "not_on_grid"),
        ({"size": "101"}, 400, "insufficient_margin"),
        ({"reduce_only": True}, 400, "reduce_only"),
        ({"valid_until": 0}, 400, "expired_request"),
    ],
)
def test_a_refusal_says_why_and_leaves_no_trace(values: dict[str, Any], status: int, code: str) -> None:
    answer = denied(an_exchange(), asked(**values), at=MS_NS)
    assert (answer.status, answer.code) == (status, code)


def test_a_size_in_dollars_is_counted_at_the_mark_and_rounded_down() -> None:
    assert placed(an_exchange(), size_usd="99.99").lots == 999
    fresh = SandboxExchange(("X", "Y"), GRIDS, OpenMatching(GRIDS, 0, 0), 10.0)
    fresh.open_account("me", USD)
    assert denied(fresh, asked()).message == "X has no price yet: wait for its first bar"


def test_a_cancelled_order_does_not_fill() -> None:
    exchange = an_exchange()
    placed(exchange, "a")
    placed(exchange, "b")
    gone = exchange.cancel("me", "a", 2)
    assert isinstance(gone, Order)
    assert gone.status == "cancelled"
    exchange.open("X", 1_000, 5)
    assert [done.order.client_order_id for done in executions(exchange)] == ["b"]
    for name, status, code in (
        ("a", 409, "order_not_open"),
        ("b", 409, "order_not_open"),
        ("c", 404, "order_not_found"),
    ):
        answer = exchange.cancel("me", name, 6)
        assert isinstance(answer, Denied)
        assert (answer.status, answer.code) == (status, code)


def test_cancel_all_takes_the_own_open_orders_and_no_others() -> None:
    exchange = an_exchange()
    exchange.open_account("you", 1_000 * USD)
    placed(exchange, "a")
    exchange.open("X", 1_000, 2)
    placed(exchange, "b")
    placed(exchange, "c", symbol="Y")
    exchange.submit("you", asked("d"), 3)
    assert exchange.cancel_all("me", 4) == ["b", "c"]
    assert exchange.cancel_all("me", 5) == []
    assert list(exchange.customers["you"].open) == ["d"]


def test_leverage_counts_what_is_open_and_lets_a_position_shrink() -> None:
    exchange = an_exchange(fee_e8=0, leverage=2.0)
    placed(exchange, "a", size="10")
    placed(exchange, "b", symbol="Y", size="5")
    assert denied(exchange, asked("c", size="0.1")).code == "insufficient_margin"
    exchange.cancel("me", "b", 2)
    exchange.open("X", 1_000, 3)
    placed(exchange, "d", size="10")
    assert denied(exchange, asked("e", side="sell", size="30.1")).code == "insufficient_margin"
    exchange.mark("X", 100)  # bankrupt: 1000 - 900
    exchange.cancel_all("me", 4)
    assert denied(exchange, asked("f", size="11")).code == "insufficient_margin"
    placed(exchange, "g", side="sell", size="10")


def test_a_reduce_only_order_never_opens_the_other_side() -> None:
    exchange = an_exchange()
    placed(exchange, "a", size="2")
    exchange.open("X", 1_000, 1)
    placed(exchange, "b", side="sell", size="1", reduce_only=True)
    assert denied(exchange, asked("c", side="sell", size="1.5", reduce_only=True)).code == "reduce_only"
    placed(exchange, "d", side="sell", size="1", reduce_only=True)
    exchange.cancel("me", "d", 1)
    placed(exchange, "e", side="sell", size="2")
    placed(exchange, "f", size="0.5")
    exchange.open("X", 1_000, 2)
    assert exchange.customers["me"].lots("X") == -500, "b sold 1, e 2, f bought 0.5"
    assert placed(exchange, "g", size="0.5", reduce_only=True).status == "open"
    assert denied(exchange, asked("h", size="0.1", reduce_only=True)).code == "reduce_only"


def book(ts: int, bid: float, ask: float, size: float = 5.0, symbol: str = "X") -> BookSnapshot:
    return BookSnapshot(symbol=symbol, ts_event=ts, ts_recv=ts, seq=None, bids=((bid, size),), asks=((ask, size),))


def test_against_a_book_orders_fill_in_parts_as_takers_and_makers() -> None:
    exchange = SandboxExchange(("X", "Y"), GRIDS, BookMatching(GRIDS, 10_000, 50_000, 0, 0.0), 100.0)
    exchange.mark("X", 1_000)
    exchange.open_account("me", 10_000 * USD)
    exchange.open("X", 1_000, 1)
    placed(exchange, "a", at=1, size="8")
    placed(exchange, "b", at=1, type="limit", side="sell", limit_price="101", size="1", reduce_only=False)
    exchange.depth(book(2, 99.9, 100.1))
    exchange.depth(Trade(symbol="X", ts_event=3, ts_recv=3, price=101.2, qty=0.4, side="buy"))
    exchange.advance(4)
    done = [(d.fill.client_order_id, d.fill.lots, d.fill.price_ticks, d.liquidity) for d in executions(exchange)]
    assert done == [("a", 5_000, 1_001, "taker"), ("b", 400, 1_010, "maker")]
    me = exchange.customers["me"]
    assert (me.orders["a"].status, me.orders["a"].filled) == ("cancelled", 5_000)
    assert (me.orders["b"].status, me.orders["b"].open_lots) == ("open", -600)
    assert [e.seq for e in me.events] == list(range(1, len(me.events) + 1))


def test_against_a_book_a_reduce_only_order_goes_when_its_position_does() -> None:
    exchange = SandboxExchange(("X", "Y"), GRIDS, BookMatching(GRIDS, 0, 0, 0, 0.0), 100.0)
    exchange.mark("X", 1_000)
    exchange.open_account("me", 10_000 * USD)
    exchange.depth(book(1, 99.9, 100.1))
    placed(exchange, "a", at=1, size="1")
    placed(exchange, "b", at=1, type="limit", side="sell", limit_price="105", size="1", reduce_only=True)
    assert exchange.customers["me"].lots("X") == 1_000
    placed(exchange, "c", at=1, side="sell", size="1")
    exchange.depth(book(2, 99.9, 100.1))
    order = exchange.customers["me"].orders["b"]
    assert (order.status, order.reason) == ("cancelled", "the position does not cover it any more")


Move = tuple[str, str, int, int, int]
MOVES = st.lists(
    st.tuples(
        st.sampled_from(("X", "Y")),
        st.sampled_from(("buy", "sell")),
        st.integers(63, 3_000),  # above the smallest order at the lowest price
        st.integers(800, 1_200),
        st.integers(-300, 300),
    ),
    max_size=25,
)


@settings(max_examples=60)
@given(MOVES)
def test_not_a_micro_dollar_is_made_or_lost(moves: list[Move]) -> None:
    """Cash, fees and funding against sums of exact fractions; the sum of the fills is the position."""
    exchange = an_exchange(fee_e8=45_000, slippage_e8=10_000, leverage=100.0, usd=1_000_000)
    me = exchange.customers["me"]
    cash, fees, funding = Fraction(1_000_000 * USD), 0, 0
    held = {"X": 0, "Y": 0}
    for k, (symbol, side, lots, ticks, rate_e6) in enumerate(moves):
        placed(exchange, f"m{k}", at=k, symbol=symbol, side=side, size=str(lots * GRID.lot_size))
        before = len(executions(exchange))
        exchange.open(symbol, ticks, k)
        for done in executions(exchange)[before:]:
            fill = done.fill
            slipped = fill.price_ticks - ticks if side == "buy" else ticks - fill.price_ticks
            assert 0 <= Fraction(slipped) - Fraction(ticks, 10_000) < 1
            signed = fill.lots if fill.side == "buy" else -fill.lots
            worth = Fraction(signed * fill.price_ticks) * 100  # 0.1 x 0.001 USD is 100 micro-dollars
            assert abs(fill.fee_uusd - abs(worth) * 45_000 / 10**8) <= Fraction(1, 2)
            cash -= worth + fill.fee_uusd
            fees += fill.fee_uusd
            held[symbol] += signed
        exchange.mark(symbol, ticks)
        exchange.fund(symbol, rate_e6 / 1e6)
        owed = Fraction(held[symbol] * ticks * 100) * Fraction(rate_e6, 10**6)
        paid = floor(abs(owed) + Fraction(1, 2)) * (1 if owed > 0 else -1)  # a half goes away from zero
        cash -= paid
        funding += paid
    assert {name: me.lots(name) for name in held} == held
    assert me.ledger.cash_uusd == cash
    assert int(me.ledger.book[:, FEES].sum()) == fees
    assert int(me.ledger.book[:, FUNDING].sum()) == funding
    marks = sum(held[name] * exchange.marks[name] * 100 for name in held)
    assert me.ledger.equity_uusd() == cash + marks
    news: list[Event] = exchange.news()
    assert [event.seq for event in news] == list(range(1, 3 * len(moves) + 1))


def test_a_decimal_is_read_exactly() -> None:
    assert placed(an_exchange(), size=Decimal("0.1") + Decimal("0.2")).lots == 300
