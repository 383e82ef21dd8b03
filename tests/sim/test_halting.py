"""How long orders are open after a halt: from when it counts, and that too long is seen."""

from types import SimpleNamespace
from typing import Any, cast

from flea_lab.sim.campaign import Tally
from flea_lab.sim.exchange import Standing
from flea_lab.sim.halting import BOUND_S, Gone, Halting


def _order(name: str, at_s: float, ends_s: float | None) -> Standing:
    one = Standing(name, "X", 1, 10, 100, at_s)
    if ends_s is not None:
        one.status, one.ends_s = "cancelled", ends_s
    return one


def _halting(*orders: Standing, outages: tuple[tuple[float, float], ...] = (), down: bool = False) -> Halting:
    exchange = SimpleNamespace(orders=list(orders), foreign={"stranger"}, outages=list(outages), down=down)
    return Halting(cast(Any, exchange))


def _gone(halting: Halting, *, healthy: bool = False) -> list[Gone]:
    halting.begin(10.0, healthy=healthy)
    halting.end()
    return halting.gone


def test_a_halt_lasts_until_the_last_order_of_ours_is_gone_one_that_arrives_later_too() -> None:
    orders = _order("old", 1.0, 9.0), _order("a", 2.0, 10.5), _order("late", 12.0, 13.0)
    assert _gone(_halting(*orders)) == [Gone("faults", 3.0)]
    assert _gone(_halting(*orders), healthy=True) == [Gone("healthy", 3.0)]
    assert _gone(_halting(orders[0])) == []
    assert _gone(_halting(*orders, _order("b", 2.0, None))) == []


def test_where_the_venue_answers_nobody_the_clock_begins_when_it_answers_again() -> None:
    assert _gone(_halting(_order("a", 2.0, 15.0), outages=((9.0, 14.0),))) == [Gone("outage", 1.0)]
    assert _gone(_halting(_order("a", 2.0, 12.0), outages=((9.0, 14.0),))) == [Gone("faults", 2.0)]


def test_a_strangers_order_counts_from_when_it_came() -> None:
    assert _gone(_halting(_order("stranger", 20.0, 22.0))) == [Gone("stranger", 2.0)]


def test_an_order_that_is_open_for_too_long_is_named() -> None:
    halting = _halting(_order("a", 2.0, None))
    assert halting.overdue(100.0) is None
    halting.begin(10.0, healthy=False)
    halting.begin(15.0, healthy=False)  # one that stands is as old as it was
    assert halting.overdue(10.0 + BOUND_S) is None
    assert halting.overdue(10.5 + BOUND_S) == ("a", 10.5)
    late = _halting(_order("a", 2.0, None), outages=((9.0, 14.0),))
    late.begin(10.0, healthy=False)
    assert late.overdue(13.9 + BOUND_S) is None
    assert late.overdue(15.0 + BOUND_S) == ("a", 11.0)
    out = _halting(_order("a", 2.0, None), down=True)
    out.begin(10.0, healthy=False)
    assert out.overdue(100.0) is None


def test_a_campaign_sorts_its_halts_by_class() -> None:
    tally = Tally(gone=[Gone("faults", 2.0), Gone("healthy", 1.0), Gone("faults", 1.0)])
    assert tally.halts() == {"healthy": [1.0], "faults": [1.0, 2.0], "outage": [], "stranger": []}
