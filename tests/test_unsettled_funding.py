"""Only what was settled is paid: a rate that runs or is predicted reaches the core and changes nothing."""

import pytest

from flea_lab.model.market import Funding
from tests.backtest.tiny import config
from tests.test_core import MINUTE, NOON, a_core, candle, snapshot


@pytest.mark.parametrize("state", ["current", "predicted"])
@pytest.mark.parametrize("symbol", ["X", "Z"])
def test_a_rate_that_is_not_settled_changes_nothing(state: str, symbol: str) -> None:
    core = a_core(config(("X", "Y")))
    core.on(candle("X", 1, say=0.0))
    core.on(candle("Y", 1, say=0.0))
    before = snapshot(core)
    told = Funding(symbol=symbol, ts_event=NOON - MINUTE, ts_recv=0, rate=float("nan"), state=state, due_ns=NOON)
    assert core.on(told) == ()
    assert (core.take_paid(), core.settling, snapshot(core)) == ([], False, before)


def test_the_settlement_after_it_is_paid() -> None:
    core = a_core(config(("X", "Y")))
    core.on(candle("X", 1, say=0.0))
    core.on(candle("Y", 1, say=0.0))
    core.on(Funding(symbol="X", ts_event=NOON, ts_recv=0, rate=0.5, state="current", due_ns=NOON))
    settled = Funding(symbol="X", ts_event=NOON, ts_recv=0, rate=0.01)
    core.on(settled)
    assert [event for event, _ in core.take_paid()] == [settled]
