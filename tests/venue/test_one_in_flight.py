"""One order in flight: what became of it comes out the same in whatever order, and how often, the venue shows it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from flea_lab.model.trading import Cancelled, Fill
from flea_lab.venue.one_in_flight import Execution, OneInFlight
from tests.venue.published_runs import T0_NS, S, order

SETTLE_NS = 60 * S


def execution(seq: int, lots: int, order_id: str = "1", side: str = "buy", symbol: str = "BTCUSDT") -> Execution:
    fill = Fill(
        client_order_id="", ts_event=T0_NS, symbol=symbol, side=side, lots=lots, price_ticks=970_000, fee_uusd=1,  # type: ignore[arg-type]
        reference_ticks=970_000, fill_id=f"t{seq}",
    )  # fmt: skip
    return Execution(seq, order_id, fill)


def flying(lots: int = 10, held: int = 0) -> OneInFlight:
    known = OneInFlight(SETTLE_NS)
    known.begin({"BTCUSDT": held}, 100)
    known.take_off(order("run-1", lots=lots), T0_NS)
    return known


@settings(max_examples=150, deadline=None)
@given(
    parts=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    data=st.data(),
)
def test_any_order_of_the_same_evidence_ends_in_the_same_state(parts: list[int], data: st.DataObject) -> None:
    whole = [execution(101 + n, lots) for n, lots in enumerate(parts)]
    total = sum(parts)
    known, told = flying(lots=25), []
    for _ in range(data.draw(st.integers(0, 5))):  # parts of the truth, as a venue that lags shows it
        listed = data.draw(st.permutations(whole))[: data.draw(st.integers(0, len(whole)))]
        position = data.draw(st.sampled_from([0, total]))
        told += known.look(listed, {"BTCUSDT": position}, T0_NS + S)
    told += known.look(data.draw(st.permutations(whole)), {"BTCUSDT": total}, T0_NS + 2 * S)
    told += known.look(whole, {"BTCUSDT": total}, T0_NS + 200 * S)
    assert sorted(fill.fill_id for fill in told if isinstance(fill, Fill)) == [one.fill.fill_id for one in whole]
    assert known.busy() == "" and known.held == {"BTCUSDT": total}
    assert known.landed["run-1"].filled_lots == total
    assert [one.filled_lots for one in told if isinstance(one, Cancelled)] == ([total] if total < 25 else [])


def test_fills_that_the_position_does_not_show_yet_are_waited_for() -> None:
    known = flying()
    assert known.look([execution(101, 10)], {}, T0_NS + S) == [] and known.busy() == "run-1"
    assert len(known.look([execution(101, 10)], {"BTCUSDT": 10}, T0_NS + S)) == 1 and known.busy() == ""


def test_nothing_is_believed_only_after_the_time_in_which_it_could_still_be_carried_out() -> None:
    known = flying()
    assert known.look([], {}, T0_NS + SETTLE_NS - 1) == [] and known.busy() == "run-1"
    assert known.look([], {}, T0_NS + SETTLE_NS) == [] and known.busy() == "" and known.landed == {}


def test_an_order_that_the_venue_says_it_carried_out_is_waited_for_for_ever() -> None:
    known = flying()
    known.answered("run-1", "77")
    assert known.look([execution(101, 10, "76")], {"BTCUSDT": 10}, T0_NS + 9 * SETTLE_NS) == []
    assert known.busy() == "run-1"
    assert len(known.look([execution(102, 10, "77")], {"BTCUSDT": 10}, T0_NS + 9 * SETTLE_NS)) == 1


def test_of_two_orders_of_the_venue_one_is_ours_and_the_other_stays_a_difference() -> None:
    known = flying()
    twice = [execution(101, 10, "1"), execution(102, 10, "2")]
    assert known.look(twice, {"BTCUSDT": 20}, T0_NS + S) == []
    [fill] = known.look(twice, {"BTCUSDT": 20}, T0_NS + 2 * SETTLE_NS)
    assert isinstance(fill, Fill) and fill.fill_id == "t101"
    assert known.held == {"BTCUSDT": 10} and known.busy() == ""


def test_what_was_done_before_or_by_others_is_not_the_orders() -> None:
    known = flying(held=5)
    others = [execution(99, 10), execution(101, 10, side="sell"), execution(102, 10, symbol="ETHUSDT")]
    assert known.look(others, {"BTCUSDT": 5}, T0_NS + S) == [] and known.busy() == "run-1"
    assert known.look(others, {"BTCUSDT": -5}, T0_NS + SETTLE_NS) == [] and known.busy() == "run-1"
    assert known.look(others, {"BTCUSDT": -5}, T0_NS + 2 * SETTLE_NS) == [] and known.busy() == ""
    assert known.held == {"BTCUSDT": 5}


def test_orders_of_before_a_restart_are_told_apart_by_what_is_known_of_them() -> None:
    known = OneInFlight(SETTLE_NS)
    old, new = order("run-1", lots=10), order("run-2", "ETHUSDT", "sell", lots=4)
    known.adopt([old, new], {"t101": "run-0"}, {"BTCUSDT": 3}, 100, T0_NS)
    listed = [execution(101, 3), execution(102, 10, "2")]
    told = known.look(listed, {"BTCUSDT": 13}, T0_NS + S)
    assert [(one.client_order_id, one.fill_id) for one in told if isinstance(one, Fill)] == [("run-1", "t102")]
    assert known.busy() == "run-2"
    known.look(listed, {"BTCUSDT": 13}, T0_NS + SETTLE_NS)
    assert known.busy() == "" and known.held == {"BTCUSDT": 13}


def test_an_order_whose_way_the_position_moved_is_never_said_to_have_done_nothing() -> None:
    known = flying()
    assert known.look([], {"BTCUSDT": 10}, T0_NS + 99 * SETTLE_NS) == [] and known.busy() == "run-1"
    assert len(known.look([execution(101, 10)], {"BTCUSDT": 10}, T0_NS + 99 * SETTLE_NS)) == 1


def test_one_order_that_landed_hides_no_execution_of_another() -> None:
    known = OneInFlight(SETTLE_NS)
    known.adopt([order("run-1", lots=10), order("run-2", "ETHUSDT", lots=4)], {}, {}, 100, T0_NS)
    newest = execution(102, 4, "2", symbol="ETHUSDT")
    known.look([newest], {"BTCUSDT": 10, "ETHUSDT": 4}, T0_NS + S)
    assert known.busy() == "run-1" and known.seq == 100
    known.look([execution(101, 10), newest], {"BTCUSDT": 10, "ETHUSDT": 4}, T0_NS + S)
    assert known.busy() == "" and known.seq == 102
