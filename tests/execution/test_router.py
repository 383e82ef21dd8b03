"""Approved dollars into whole lots."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flea_lab.execution.order import Status
from flea_lab.execution.router import Router, quantise
from flea_lab.model.instrument import Instrument
from flea_lab.model.trading import Accepted, Approved, Cancelled, CancelOrder, SendUnclear
from tests.execution.orders import a_report, an_intent

GRID = Instrument(tick_size=Decimal("0.01"), lot_size=Decimal("0.001"), min_notional_usd=Decimal("5"))


def router() -> Router:
    return Router({"X": GRID}, "test")


@pytest.mark.parametrize(
    ("side", "usd", "ticks", "lots"),
    [
        ("buy", 100.0, 10_000, 1_000),  # 100 USD at 100.00: 1.000
        ("sell", 100.0, 10_000, 1_000),
        ("buy", 99.99, 10_000, 999),  # toward zero
        ("sell", 99.99, 10_000, 999),
        ("buy", 5.0, 10_000, 50),  # exactly the smallest order
        ("buy", 0.05, 10_000, None),  # below the smallest order
        ("buy", 4.99, 10_000, None),
        ("buy", 5.0, 9_999, None),  # 50 lots would be 4.9995
        ("buy", 50.0, 2**31 - 1, None),  # below a lot
    ],
)
def test_orders_by_hand(side: str, usd: float, ticks: int, lots: int | None) -> None:
    one = router()
    intent = an_intent(side, usd, ticks)
    signed = one.lots(intent, ticks)
    if lots is None:
        assert signed == 0
    else:
        order = one.on(Approved(intent), signed, ticks)
        assert (order.side, order.lots, order.price_ticks, order.client_order_id) == (side, lots, ticks, "test-1")
        assert one.blotter.get("test-1").status is Status.PENDING


@given(st.integers(-(10**12), 10**12), st.integers(1, 10**7), st.integers(0, 10**8))
def test_an_order_never_costs_more_than_was_approved_nor_less_than_the_smallest(
    size: int, ticks: int, minimum: int
) -> None:
    lots = quantise(size, ticks, 3, 10, minimum)
    value = Fraction(lots * ticks * 3, 10)
    assert abs(value) <= abs(size)
    assert lots == 0 or (lots > 0) == (size > 0)
    assert lots == 0 or abs(value) >= minimum - Fraction(1, 2)  # the value is rounded before it is compared


def test_every_order_gets_an_id_of_its_own() -> None:
    one = router()
    ids = [one.on(Approved(an_intent()), 5, 10_000).client_order_id for _ in range(3)]
    assert ids == ["test-1", "test-2", "test-3"]


def test_a_cancel_goes_to_every_order_that_may_trade_the_unknown_ones_too() -> None:
    one = router()
    for _ in range(3):
        one.on(Approved(an_intent()), 5, 10_000)
    one.blotter.on(a_report(Accepted, "test-1"))
    one.blotter.on(a_report(SendUnclear, "test-2"))
    one.blotter.on(a_report(Accepted, "test-3"))
    one.blotter.on(a_report(Cancelled, "test-3"))
    assert one.cancel_all(7) == tuple(
        CancelOrder(client_order_id=name, symbol="X", ts_event=7) for name in ("test-1", "test-2")
    )
