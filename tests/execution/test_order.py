"""The order lifecycle: the table cell by cell, and that what the venue says may come in any order, any number of times.

`RANK` is the independent truth: what is certain is never given up for what is less so.
"""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flea_lab.errors import IllegalTransition, VenueError
from flea_lab.execution.blotter import Blotter
from flea_lab.execution.order import CONTRADICTIONS, KINDS, OPEN, TRANSITIONS, Order, Status
from flea_lab.model.trading import (
    Accepted,
    Cancelled,
    CancelRejected,
    CancelSent,
    Expired,
    Fill,
    Filled,
    NotFound,
    OrderReport,
    Rejected,
    SendUnclear,
)
from tests.execution.orders import a_report, an_order

CLOSED = set(Status) - OPEN
RANK = {
    **dict.fromkeys(OPEN, 1),
    Status.NOT_ACCEPTED: 0,
    Status.REJECTED: 2,
    Status.EXPIRED: 3,
    Status.CANCELLED: 4,
    Status.FILLED: 5,
}
LAST = {Rejected: Status.REJECTED, Expired: Status.EXPIRED, Cancelled: Status.CANCELLED, Filled: Status.FILLED}


def in_status(status: Status, lots: int = 5) -> Order:
    return Order(an_order(lots=lots), status, lots if status is Status.FILLED else 0)


def after(reports: Sequence[OrderReport], lots: int = 5) -> Order:
    order = Order(an_order(lots=lots))
    for report in reports:
        order = order.on(report)
    return order


def test_the_table_holds_every_pair() -> None:
    assert set(TRANSITIONS) == {(status, kind) for status in Status for kind in KINDS}
    assert set(KINDS) == set(OrderReport.__subclasses__())


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("kind", KINDS)
def test_every_cell_happens_and_follows_the_rules(status: Status, kind: type[OrderReport]) -> None:
    found = in_status(status).on(a_report(kind, fill_id="a") if kind is Fill else a_report(kind)).status
    assert found is TRANSITIONS[status, kind]
    if kind in LAST:  # a last word moves it up to that word, and never down
        assert found is (LAST[kind] if RANK[LAST[kind]] > RANK[status] else status)
    elif status not in OPEN:  # nothing but a contradiction, or the wrong "never seen", opens it again
        again = (status, kind) in CONTRADICTIONS and kind in (Accepted, Fill)
        assert found is status if not again else found in (Status.UNKNOWN, Status.WORKING)
    else:
        assert found in OPEN or (status, kind) == (Status.UNKNOWN, NotFound)


def test_what_says_nothing_new_is_the_very_same_order() -> None:
    order = after([a_report(Accepted), a_report(Fill, lots=2, fill_id="a")])
    for report in (a_report(Accepted), a_report(Fill, lots=2, fill_id="a"), a_report(NotFound)):
        assert order.on(report) is order
    done = after([a_report(Fill, lots=5, fill_id="a")])
    assert done.on(a_report(Filled)) is done and done.on(a_report(Cancelled, filled_lots=5)) is done


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
        ([CancelSent, CancelRejected, SendUnclear], Status.UNKNOWN, 0, 5),  # the cancel overtook an order that got lost
        ([SendUnclear], Status.UNKNOWN, 0, 5),
        ([SendUnclear, CancelSent, CancelRejected], Status.UNKNOWN, 0, 5),
        ([SendUnclear, Accepted, Expired, Fill], Status.EXPIRED, 1, 0),
        ([SendUnclear, NotFound, Fill], Status.WORKING, 1, 4),  # whoever said "never seen" looked too early
        ([SendUnclear, NotFound, Accepted], Status.WORKING, 0, 5),
        ([Accepted, NotFound], Status.WORKING, 0, 5),  # asked before it arrived, answered after
        ([Rejected, Accepted], Status.UNKNOWN, 0, 5),  # one of the two is wrong: it counts, and is asked for
        ([Rejected], Status.REJECTED, 0, 0),
    ],
)
def test_stories(story: list[type[OrderReport]], status: Status, filled: int, still_open: int) -> None:
    order = after([a_report(kind) for kind in story])
    assert (order.status, order.filled_lots, order.open_lots) == (status, filled, still_open)


@pytest.mark.parametrize(
    ("last", "owed"),
    [
        (a_report(Filled), 3),
        (a_report(Cancelled, filled_lots=4), 2),
        (a_report(Expired, filled_lots=2), 0),
        (a_report(Cancelled, filled_lots=1), 0),  # fills that came say more than the status
        (a_report(Cancelled), 0),
    ],
)
def test_a_status_before_its_fills_leaves_them_exposed_until_they_come(last: OrderReport, owed: int) -> None:
    order = after([a_report(Accepted), a_report(Fill, lots=2, fill_id="a"), last])
    assert (order.open_lots, order.owed_lots, order.exposed_lots) == (0, owed, owed)
    blotter = Blotter()
    blotter.restore(order)
    assert blotter.exposed("X") == (owed, 0) and len(blotter.owed_orders()) == (owed > 0)
    if owed:
        _, settled = blotter.on(a_report(Fill, lots=owed, fill_id="b"))
        assert settled.owed_lots == 0 and blotter.owed_orders() == () and blotter.exposed("X") == (0, 0)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (Accepted, Status.WORKING),
        (Fill, Status.WORKING),
        (Rejected, Status.REJECTED),
        (NotFound, Status.NOT_ACCEPTED),
        (Cancelled, Status.CANCELLED),
        (Expired, Status.EXPIRED),
        (Filled, Status.FILLED),
    ],
)
def test_any_channel_resolves_an_unknown_order(kind: type[OrderReport], status: Status) -> None:
    blotter = Blotter()
    blotter.register(an_order())
    blotter.on(a_report(SendUnclear))
    assert [order.status for order in blotter.unknown_orders()] == [Status.UNKNOWN]
    before, found = blotter.on(a_report(kind))
    assert (before.status, found.status) == (Status.UNKNOWN, status)
    assert blotter.unknown_orders() == ()


def test_an_overfill_counts_at_its_true_size() -> None:
    blotter = Blotter()
    blotter.register(an_order(lots=5))
    blotter.on(a_report(Fill, lots=4, fill_id="a"))
    _, order = blotter.on(a_report(Fill, lots=2, fill_id="b"))
    assert (order.status, order.filled_lots, order.overfilled_lots, order.exposed_lots) == (Status.FILLED, 6, 1, 0)
    blotter.on(a_report(Fill, lots=1, fill_id="c"))
    assert blotter.get("1").overfilled_lots == 2 and blotter.overfills == 1


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
    assert blotter.get("1") == before and blotter.exposed("X") == (5, 0)


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


# ---- whatever the order of arrival


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[OrderReport], OrderReport]:
    """What a venue has to say of one order of 5 lots that it has, and its record of it now."""
    parts = draw(st.lists(st.integers(1, 3), max_size=4).filter(lambda parts: sum(parts) <= 5))
    fills = [a_report(Fill, lots=lots, fill_id=f"f{n}") for n, lots in enumerate(parts)]
    if sum(parts) == 5:
        last = a_report(Filled)
    else:
        ended = draw(st.sampled_from([Cancelled, Expired, Rejected, Accepted]))
        last = a_report(ended, filled_lots=sum(parts)) if ended in (Cancelled, Expired) else a_report(ended)
        if ended is Rejected and parts:
            last = a_report(Cancelled, filled_lots=sum(parts))  # what traded was not refused
    return [a_report(Accepted), *fills, last], last


@given(histories(), st.data())
def test_however_the_evidence_is_ordered_and_repeated_the_end_is_the_same(
    history: tuple[list[OrderReport], OrderReport], data: st.DataObject
) -> None:
    evidence, record = history
    unclear = [a_report(kind) for kind in data.draw(st.lists(st.sampled_from([SendUnclear, CancelSent, NotFound])))]
    repeated = data.draw(st.lists(st.sampled_from(evidence), max_size=4))
    heard = data.draw(st.permutations([*evidence, *repeated, *unclear]))
    found, straight = after(heard), after(evidence)
    fills = [report for report in evidence if isinstance(report, Fill)]
    assert found.filled_lots == sum(fill.lots for fill in fills) and set(found.fill_ids) == {f.fill_id for f in fills}
    assert found.owed_lots == 0, "every fill came"
    if found.status in OPEN:  # the runner asks for what is unknown, and for what is open here and not there
        found = found.on(record)
    if straight.status in OPEN:
        assert found.status in OPEN and found.open_lots == straight.open_lots
    else:
        assert (found.status, found.exposed_lots) == (straight.status, 0)


REPORTS = st.one_of(
    st.sampled_from([kind for kind in KINDS if kind is not Fill]).map(a_report),
    st.integers(0, 5).map(lambda lots: a_report(Cancelled, filled_lots=lots)),
    st.tuples(st.integers(-1, 4), st.sampled_from("abcde")).map(
        lambda drawn: a_report(Fill, lots=drawn[0], fill_id=f"{drawn[1]}{drawn[0]}")
    ),
)


@given(st.lists(REPORTS, max_size=25))
def test_whatever_is_reported_every_fill_counts_once_and_exposure_is_what_may_still_come(
    reports: list[OrderReport],
) -> None:
    blotter = Blotter()
    order, fills = blotter.register(an_order(lots=5)), dict[str, int]()
    for report in reports:
        try:
            before, found = blotter.on(report)
        except VenueError:
            assert isinstance(report, Fill) and report.lots < 1 and blotter.get("1") is order
            continue
        assert before is order
        if isinstance(report, Fill):
            fills[report.fill_id] = report.lots
        assert found.filled_lots == sum(fills.values()) and found.exposed_lots >= 0
        assert RANK[found.status] >= RANK[before.status] or (before.status, type(report)) in {
            *CONTRADICTIONS,
            (Status.UNKNOWN, NotFound),
        }
        assert blotter.exposed("X") == (found.exposed_lots, 0)
        assert [o.command.client_order_id for o in blotter.open_orders()] == (["1"] if found.status in OPEN else [])
        order = found
