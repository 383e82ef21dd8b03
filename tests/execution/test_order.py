"""The order lifecycle: what the table holds, and that nothing else can happen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flea_lab.errors import IllegalTransition, VenueError
from flea_lab.execution.blotter import Blotter
from flea_lab.execution.order import OPEN, TRANSITIONS, Order, Status
from flea_lab.model.trading import (
    Accepted,
    Cancelled,
    CancelRejected,
    CancelSent,
    Expired,
    Fill,
    NotFound,
    OrderReport,
    Rejected,
    SendUnclear,
)
from tests.execution.orders import KINDS, a_report, an_order

PAIRS = [(status, kind) for status in Status for kind in KINDS]
CLOSED = set(Status) - OPEN


def in_status(status: Status, lots: int = 5) -> Order:
    return Order(an_order(lots=lots), status, lots if status is Status.FILLED else 0)


@pytest.mark.parametrize(("status", "kind"), [pair for pair in PAIRS if pair in TRANSITIONS])
def test_what_the_table_holds_happens(status: Status, kind: type[OrderReport]) -> None:
    after = in_status(status).on(a_report(kind))
    assert after.status is TRANSITIONS[status, kind]


@pytest.mark.parametrize(("status", "kind"), [pair for pair in PAIRS if pair not in TRANSITIONS])
def test_what_it_does_not_hold_raises_and_changes_nothing(status: Status, kind: type[OrderReport]) -> None:
    blotter = Blotter()
    blotter.register(an_order())
    order = in_status(status)
    blotter._orders["1"] = order
    blotter._open = {"1": order} if status in OPEN else {}
    before = blotter.get("1"), blotter.open_orders(), blotter.unknown_orders()
    with pytest.raises(IllegalTransition, match=f"order 1: {kind.__name__} while {status.value}"):
        blotter.on(a_report(kind))
    assert (blotter.get("1"), blotter.open_orders(), blotter.unknown_orders()) == before
    assert order == in_status(status)


@pytest.mark.parametrize(
    ("story", "status", "filled", "still_open"),
    [
        ([Accepted, Fill, Fill], Status.WORKING, 2, 3),
        ([Accepted] + [Fill] * 5, Status.FILLED, 5, 0),
        ([Fill] * 5 + [Accepted], Status.FILLED, 5, 0),  # the fills overtook the acknowledgement
        ([Accepted, CancelSent, Fill, Cancelled], Status.CANCELLED, 1, 0),
        ([Accepted, CancelSent, Cancelled, Fill], Status.CANCELLED, 1, 0),  # the fill crossed our cancel
        ([Accepted, CancelSent, Cancelled] + [Fill] * 5, Status.FILLED, 5, 0),
        ([Accepted, CancelSent, CancelRejected, Fill], Status.WORKING, 1, 4),
        ([Accepted, CancelSent] + [Fill] * 5 + [CancelRejected], Status.FILLED, 5, 0),
        ([SendUnclear], Status.UNKNOWN, 0, 5),
        ([SendUnclear, CancelSent, CancelRejected], Status.UNKNOWN, 0, 5),
        ([SendUnclear, Accepted, Expired, Fill], Status.EXPIRED, 1, 0),
        ([Rejected], Status.REJECTED, 0, 0),
    ],
)
def test_stories(story: list[type[OrderReport]], status: Status, filled: int, still_open: int) -> None:
    order = Order(an_order())
    for kind in story:
        order = order.on(a_report(kind))
    assert (order.status, order.filled_lots, order.open_lots) == (status, filled, still_open)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (Accepted, Status.WORKING),
        (Fill, Status.WORKING),
        (Rejected, Status.REJECTED),
        (NotFound, Status.REJECTED),
        (Cancelled, Status.CANCELLED),
        (Expired, Status.EXPIRED),
    ],
)
def test_any_channel_resolves_an_unknown_order(kind: type[OrderReport], status: Status) -> None:
    blotter = Blotter()
    blotter.register(an_order())
    blotter.on(a_report(SendUnclear))
    assert [order.status for order in blotter.unknown_orders()] == [Status.UNKNOWN]
    before, after = blotter.on(a_report(kind))
    assert (before.status, after.status) == (Status.UNKNOWN, status)
    assert blotter.unknown_orders() == ()


def test_an_overfill_raises_and_changes_nothing() -> None:
    blotter = Blotter()
    blotter.register(an_order(lots=5))
    blotter.on(a_report(Fill, lots=4))
    with pytest.raises(IllegalTransition, match="order 1: filled 6 of 5 lots"):
        blotter.on(a_report(Fill, lots=2))
    assert blotter.get("1").filled_lots == 4
    assert blotter.get("1").open_lots == 1


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (dict(lots=0), "order 1: a fill of 0 lots at 100 ticks, both must be at least 1"),
        (dict(lots=-5), "order 1: a fill of -5 lots"),
        (dict(price_ticks=0), "order 1: a fill of 1 lots at 0 ticks"),
        (dict(side="sell"), "order 1: a fill says sell X, the order is buy X"),
        (dict(symbol="Y"), "order 1: a fill says buy Y, the order is buy X"),
    ],
)
def test_a_fill_that_cannot_be_this_orders_is_the_venues_error(fill: dict[str, object], message: str) -> None:
    blotter = Blotter()
    blotter.register(an_order())
    before = blotter.get("1")
    with pytest.raises(VenueError, match=message):
        blotter.on(a_report(Fill, **fill))
    assert blotter.get("1") == before


def test_a_client_order_id_is_used_once() -> None:
    blotter = Blotter()
    blotter.register(an_order())
    blotter.on(a_report(Rejected))
    with pytest.raises(IllegalTransition, match="order 1: client order id used twice"):
        blotter.register(an_order())
    assert blotter.get("1").status is Status.REJECTED


def test_a_report_of_an_order_nobody_registered_raises() -> None:
    with pytest.raises(IllegalTransition, match="order 9: Accepted for an order that was never registered"):
        Blotter().on(a_report(Accepted, "9"))


REPORTS = st.one_of(
    st.sampled_from([kind for kind in KINDS if kind is not Fill]).map(a_report),
    st.integers(-1, 4).map(lambda lots: a_report(Fill, lots=lots)),
)


@given(st.lists(REPORTS, max_size=25))
def test_whatever_is_reported_an_order_fills_at_most_once_and_a_refused_one_alone_can_come_back(
    reports: list[OrderReport],
) -> None:
    blotter = Blotter()
    order = blotter.register(an_order(lots=5))
    for report in reports:
        try:
            before, after = blotter.on(report)
        except (IllegalTransition, VenueError):
            assert blotter.get("1") == order
            continue
        assert before == order
        filled = report.lots if isinstance(report, Fill) else 0
        assert after.filled_lots == before.filled_lots + filled <= 5
        assert (after.status is Status.FILLED) == (after.filled_lots == 5)
        if before.status in CLOSED:
            back = before.status is Status.REJECTED and type(report) in (Accepted, Cancelled)
            assert back or after.status is before.status or after.status is Status.FILLED
        assert after.open_lots == (5 - after.filled_lots if after.status in OPEN else 0)
        assert [o.command.client_order_id for o in blotter.open_orders()] == (["1"] if after.status in OPEN else [])
        order = after


def test_a_fill_told_twice_counts_once() -> None:
    order = Order(an_order(lots=5)).on(a_report(Fill, lots=2, fill_id="a"))
    assert order.on(a_report(Fill, lots=2, fill_id="a")) is order
    assert order.on(a_report(Fill, lots=2, fill_id="b")).filled_lots == 4
