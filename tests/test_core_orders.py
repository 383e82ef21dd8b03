"""The core and its orders: exposure is counted on the worst side, and what a venue says is never lost."""

from flea_lab.model.trading import Accepted, Adopt, Alert, Cancelled, Filled, NewOrder, Refused, Rejected, Resume
from flea_lab.risk.checks import COLLAR, CONCENTRATION, ORDER_SIZE, REDUCING, THROTTLE
from tests.backtest.tiny import config
from tests.test_core import a_core, a_fill, candle


def test_an_overfill_is_booked_at_its_true_size_and_told() -> None:
    core = a_core(config(("X",)))
    (order,) = core.on(candle("X", 1, say=0.5))
    assert isinstance(order, NewOrder)
    core.on(a_fill(order))
    (alert,) = core.on(a_fill(order, lots=7))
    assert isinstance(alert, Alert) and alert.severity == "critical"
    assert alert.text == f"order replay-1 is overfilled: {order.lots + 7} of {order.lots} lots of X"
    assert core.account().lots == {"X": order.lots + 7} and core.router.blotter.overfills == 1


def test_a_word_that_cannot_be_true_beside_an_earlier_one_is_told_and_counts() -> None:
    core = a_core(config(("X",)))
    (order,) = core.on(candle("X", 1, say=0.5))
    assert isinstance(order, NewOrder)
    name = order.client_order_id
    assert core.on(Rejected(client_order_id=name, ts_event=3)) == ()
    (alert,) = core.on(Accepted(client_order_id=name, ts_event=4))
    assert isinstance(alert, Alert) and alert.text == "order replay-1 was rejected, and now: Accepted"
    assert core.router.blotter.exposed("X") == (order.lots, 0)
    assert core.on(Rejected(client_order_id=name, ts_event=5)) == ()
    assert core.router.blotter.exposed("X") == (0, 0) and core.ledger.book[:, 1].tolist() == [0]


def test_exposure_counts_what_goes_this_way_as_filled_and_nothing_that_goes_the_other() -> None:
    core = a_core(config(("X",), risk={"max_concentration": 0.3}, sizing={"base_fraction": 0.2}))
    (buy,) = core.on(candle("X", 1, say=1.0))  # 20 % of equity, and it only rests
    assert isinstance(buy, NewOrder)
    (sell,) = core.on(candle("X", 2, say=-1.0))
    assert isinstance(sell, NewOrder), "from flat; that the buy may fill makes the sell no smaller a position"
    for say, way in ((1.0, "buy"), (-1.0, "sell")):
        (refused,) = core.on(candle("X", 3 if say > 0 else 4, say=say))
        assert isinstance(refused, Refused) and refused.code == CONCENTRATION, f"two {way}s would be 40 %"


def test_what_the_venue_filled_and_has_not_told_counts_until_its_fills_come() -> None:
    core = a_core(config(("X",), risk={"max_concentration": 0.3}, sizing={"base_fraction": 0.2}))
    (buy,) = core.on(candle("X", 1, say=1.0))
    assert isinstance(buy, NewOrder)
    core.on(Filled(client_order_id=buy.client_order_id, ts_event=3))
    assert core.router.blotter.open_orders() == () and core.router.blotter.exposed("X") == (buy.lots, 0)
    (refused,) = core.on(candle("X", 2, say=1.0))
    assert isinstance(refused, Refused) and refused.code == CONCENTRATION
    core.on(a_fill(buy))
    assert core.router.blotter.exposed("X") == (0, 0) and core.account().lots == {"X": buy.lots}


def test_a_loop_that_runs_away_is_left_to_reduce_until_a_person_allows_more() -> None:
    core = a_core(config(("X",), risk={"orders": {"burst_orders": 2, "burst_s": 86_400.0}}))
    for bar in (1, 2):
        (order,) = core.on(candle("X", bar, say=0.1))
        assert isinstance(order, NewOrder)
        core.on(a_fill(order))
    refused, alert = core.on(candle("X", 3, say=0.1))
    assert isinstance(refused, Refused) and refused.code == THROTTLE
    assert isinstance(alert, Alert) and alert.severity == "critical" and "too many orders" in alert.text
    second = a_core(config(("X",), risk={"orders": {"burst_orders": 2, "burst_s": 86_400.0}}))
    second.load(core.dump())
    for one in (core, second):  # a restart forgets neither the latch nor what was given
        (refused,) = one.on(candle("X", 4, say=0.1))
        assert isinstance(refused, Refused) and refused.code == REDUCING
        (order,) = one.on(candle("X", 5, say=-0.1))
        assert isinstance(order, NewOrder), "what reduces passes"
        one.on(Resume(ts_event=6, clears=("reducing",), by="ann"))
        refused, _ = one.on(candle("X", 6, say=0.1))
        assert isinstance(refused, Refused) and refused.code == THROTTLE


def test_a_close_far_from_the_one_before_trades_nothing_where_that_is_asked_for() -> None:
    core = a_core(config(("X",), risk={"orders": {"drift_bps": 500.0}}))
    core.on(candle("X", 1, say=0.0))
    (refused,) = core.on(candle("X", 2, say=0.1, close=106.0))
    assert isinstance(refused, Refused) and refused.code == COLLAR
    (order,) = core.on(candle("X", 3, say=0.1, close=106.0))
    assert isinstance(order, NewOrder)


def test_a_market_order_is_valued_at_the_worst_price_of_its_collar_where_that_is_asked_for() -> None:
    risk = {"max_order_usd": 10_200.0, "orders": {"worst_price": "collar", "collar_bps": 300.0}}
    for say, passes in ((1.0, False), (-1.0, True)):  # a sell is worth most before it slips
        (found,) = a_core(config(("X",), risk=risk)).on(candle("X", 1, say=say))
        assert isinstance(found, NewOrder if passes else Refused)
        assert passes or (isinstance(found, Refused) and found.code == ORDER_SIZE)


def test_a_cancelled_order_counts_what_it_filled_by_the_venues_word() -> None:
    core = a_core(config(("X",), sizing={"base_fraction": 0.2}))
    (buy,) = core.on(candle("X", 1, say=1.0))
    assert isinstance(buy, NewOrder)
    core.on(Cancelled(client_order_id=buy.client_order_id, ts_event=3, filled_lots=buy.lots // 2))
    assert core.router.blotter.exposed("X") == (buy.lots // 2, 0)
    assert core.ledger.book[0, 1] == buy.lots // 2


def test_an_account_that_is_taken_over_may_only_shrink() -> None:
    core = a_core(config(("X",)))
    (alert,) = core.on(Adopt(ts_event=1, cash_uusd=50_000_000_000, fees_uusd=7, funding_uusd=0, lots={"X": 30}))
    assert isinstance(alert, Alert) and alert.severity == "critical"
    assert alert.text == "the account is taken over from the venue: only orders that reduce a position pass"
    assert (core.account().lots, core.account().cash_uusd) == ({"X": 30}, 50_000_000_000)
    (refused,) = core.on(candle("X", 2, say=0.5))
    assert isinstance(refused, Refused) and refused.code == REDUCING
