"""Large orders in slices: the plan sums to the order, nothing catches up in a burst, fills decide what is left."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flea_lab.errors import ConfigError
from flea_lab.execution.order import Order, Status
from flea_lab.execution.parents import Parent
from flea_lab.execution.router import Router
from flea_lab.execution.slicing import SECOND_NS, Slicing, plan, release, slices_of
from flea_lab.model.instrument import Instrument
from flea_lab.model.trading import (
    Accepted,
    Approved,
    Cancelled,
    Expired,
    Fill,
    Filled,
    NotFound,
    OrderReport,
    Rejected,
    SendUnclear,
)
from flea_lab.settings import load_settings
from tests.execution.orders import a_report, an_intent

GRID = Instrument(tick_size=Decimal("0.01"), lot_size=Decimal("0.001"))
MINUTE = 60 * SECOND_NS


@given(st.integers(1, 10**9), st.floats(1.0, 1_440.0), st.floats(0.0, 1e12))
def test_a_plan_sums_to_the_order_and_no_slice_is_larger_than_the_first(lots: int, minutes: float, day: float) -> None:
    slicing = Slicing(minutes=minutes)
    found = plan(lots, 7, slicing, day)
    assert sum(one.lots for one in found) == lots and all(0 < one.lots <= found[0].lots for one in found)
    assert [one.ts_event for one in found] == [7 + n * MINUTE for n in range(len(found))]
    assert len(found) <= slices_of(lots, day, slicing)


@given(st.integers(0, 10**9), st.integers(1, 10**6), st.floats(0.0, 1e9), st.floats(0.01, 1.0), st.integers(1, 9_999))
def test_what_goes_is_never_beyond_the_share_of_what_traded(
    left: int, size: int, traded: float, share: float, least: int
) -> None:
    lots = release(left, size, traded, share, least)
    assert lots == 0 or least <= lots <= min(left, share * traded)
    assert lots < size + least, "the last slice takes the crumbs with it, and no more"


def test_nothing_goes_where_nobody_knows_what_trades() -> None:
    assert release(10, 10, float("nan"), 0.1, 1) == release(10, 10, 0.0, 0.1, 1) == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (dict(above=0.0), r"above = 0\.0: expected `float` > 0\.0"),
        (dict(participation=1.5), r"participation = 1\.5: expected `float` <= 1\.0"),
        (dict(every_s=120.0, minutes=1.0), r"every_s \(120\) must be at most minutes \(1\) in seconds"),
        (dict(style="vwap"), r"style = 'vwap': must be one of "),
    ],
)
def test_slicing_that_cannot_be_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_settings(values, Slicing, "a test")


def a_router(lots: int = 1_000) -> Router:
    """A router that works an order of `lots` in ten slices."""
    router = Router({"X": GRID}, "test")
    router.begin(Approved(an_intent()), lots, Slicing(minutes=10.0))
    return router


def due(router: Router, ts: int, traded: float = 1e9) -> list[int]:
    """Lots of the children that go at `ts`, where so much has traded."""
    router.parents.traded("X", traded)
    return [router.slice(one, 100, ts).lots for one in router.parents.due(ts, 0.1, {"X": 1})]


def tell(router: Router, report: OrderReport) -> None:
    router.parents.on(*router.blotter.on(report))


def fill(name: str, lots: int, fill_id: str) -> OrderReport:
    return a_report(Fill, name, lots=lots, fill_id=fill_id)


def test_a_pause_is_not_made_up_for_at_once() -> None:
    router = a_router()
    assert due(router, 1) == [100]
    tell(router, fill("test-2", 100, "a"))
    assert due(router, 1 + 9 * MINUTE) == [100], "nine slices were missed, and one goes"
    tell(router, fill("test-3", 100, "b"))
    assert due(router, 2 + 9 * MINUTE) == [], "not before its time"


def test_a_child_that_was_taken_back_counts_until_the_venue_has_said_what_filled() -> None:
    router = a_router()
    assert due(router, 1) == [100]
    tell(router, a_report(Accepted, "test-2"))
    (cancel,) = router.parents.stale(1 + MINUTE)
    assert cancel.client_order_id == "test-2" and due(router, 1 + MINUTE) == []
    tell(router, a_report(Cancelled, "test-2", filled_lots=30))
    assert due(router, 2 + MINUTE) == [], "thirty fills are missing"
    tell(router, fill("test-2", 30, "a"))
    (one,) = router.parents.active()
    assert router.parents.left(one) == 970 and due(router, 3 + MINUTE) == [100]


def test_an_unknown_child_holds_its_parent_up() -> None:
    router = a_router()
    due(router, 1)
    tell(router, a_report(SendUnclear, "test-2"))
    assert due(router, 1 + 5 * MINUTE) == []
    tell(router, a_report(NotFound, "test-2"))
    assert due(router, 1 + 5 * MINUTE) == [100] and router.parents.left(router.parents.active()[0]) == 900


def test_a_restart_goes_on_from_fills_and_never_from_the_schedule() -> None:
    router = a_router()
    due(router, 1)
    tell(router, fill("test-2", 40, "a"))
    encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode
    again = Router({"X": GRID}, "test")
    again.resume(router.minted)
    again.blotter.restore(decode(encode(router.blotter.get("test-2")), type=Order))
    again.parents.load(decode(encode(router.parents.dump()), type=list[Parent]))
    (one,) = again.parents.active()
    assert (one.filled_lots, again.parents.left(one)) == (40, 900) and due(again, 1 + 60 * MINUTE) == []
    tell(again, a_report(Cancelled, "test-2", filled_lots=40))
    assert due(again, 1 + 60 * MINUTE) == [100] and again.blotter.get("test-3").status is Status.PENDING


OTHERS: dict[str, type[OrderReport]] = {
    "accept": Accepted, "all": Filled, "expire": Expired, "reject": Rejected, "unclear": SendUnclear, "lost": NotFound,
}  # fmt: skip
STEPS = st.tuples(st.sampled_from(["tick", "fill", "owed", "cancel", *OTHERS]), st.integers(1, 120))


def step(router: Router, kind: str, n: int, name: str, told: str) -> None:
    """One thing that the venue says of the child `name`."""
    order = router.blotter.get(name)
    lots = min(n, order.command.lots - order.filled_lots)
    report: Any = None
    if (kind == "fill" and order.open_lots) or (kind == "owed" and order.owed_lots):
        report = fill(name, min(lots, order.exposed_lots), told)
    elif kind == "cancel":
        report = a_report(Cancelled, name, filled_lots=order.filled_lots + lots * (n % 2))
    elif kind in OTHERS:
        report = a_report(OTHERS[kind], name)
    if report is not None:
        tell(router, report)


@given(st.lists(STEPS, max_size=80))
def test_filled_and_out_and_left_is_what_was_ordered_at_every_step(steps: list[tuple[str, int]]) -> None:
    router, now, names = a_router(), 1, list[str]()
    for told, (kind, n) in enumerate(steps):
        now += n * SECOND_NS
        if kind == "tick":
            names += [f"test-{router.minted}"] if due(router, now, n * 20.0) else []
        elif names:
            step(router, kind, n, names[-1 - (n % 2 and len(names) > 1)], str(told))
        out = sum(router.blotter.get(name).exposed_lots for name in names)
        filled = sum(router.blotter.get(name).filled_lots for name in names)
        for one in router.parents.active():
            child = router.blotter.get(one.child).exposed_lots if one.child else 0
            assert one.filled_lots == filled and filled + child + router.parents.left(one) == max(1_000, filled + child)
        assert router.parents.active() or filled + out >= 1_000
