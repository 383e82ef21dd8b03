"""Bars that nobody calls over: when they are, when they are not, and what time alone says."""

import math
from typing import Any

import pytest

from flea_lab.errors import ConfigError
from flea_lab.model.market import Candle, Funding, Heartbeat
from flea_lab.venue.budget import Budget
from flea_lab.venue.forming import Forming, candle_fault
from flea_lab.venue.reach import on_loopback, require_reach
from flea_lab.venue.reading import FrameError

NOW = 1_000
STEP, GRACE, T0 = 60, 2, 600  # a bar of 60 ns, closed 2 ns after its end


def candle(closes: int, close: float = 1.0, symbol: str = "A", **values: Any) -> Candle:
    given = dict(symbol=symbol, ts_event=closes, ts_recv=0, open=1.0, high=max(1.0, close), low=min(1.0, close))
    return Candle(**given | dict(close=close, volume=1.0, complete=False) | values)


def forming(*symbols: str) -> Forming:
    found = Forming(symbols or ("A",), STEP, GRACE)
    found.begin(T0 + 30)  # in the middle of the bar that closes at 660
    return found


def told(said: Any) -> list[Any]:
    return [(one.ts_event, one.complete) if isinstance(one, Candle) else type(one).__name__ for one in said]


def test_a_later_bar_shows_that_the_one_before_it_is_over() -> None:
    bars = forming()
    assert told(bars.on(candle(660, 2.0))) == [(660, False)]
    over, begun = bars.on(candle(720))
    assert over == candle(660, 2.0, complete=True) and begun == candle(720)


def test_our_clock_alone_closes_nothing() -> None:
    bars = forming()
    bars.on(candle(660))
    assert bars.due(662) and not bars.due(661)
    assert bars.over(10_000) == ()
    bars.hear(661, NOW)
    assert bars.over(10_000) == () and bars.due(662)
    bars.hear(662, NOW)
    assert not bars.due(662)
    assert told(bars.over(10_000)) == [(660, True), "Heartbeat"]
    assert bars.over(10_000) == ()


def test_a_symbol_without_a_print_has_no_bar_and_time_goes_on() -> None:
    bars = forming("A", "B")
    bars.on(candle(660, symbol="B"))
    bars.hear(662, NOW)
    assert told(bars.over(0)) == [(660, True), "Heartbeat"]
    bars.hear(722, NOW)
    assert bars.over(0) == (Heartbeat(ts_event=720),)


def test_a_bar_that_was_forming_when_the_connection_ended_is_never_told() -> None:
    bars = forming()
    bars.on(candle(660))
    bars.begin(675)
    bars.hear(900, NOW)
    assert told(bars.over(0)) == ["Heartbeat"]


def test_a_stamp_of_times_to_come_proves_nothing() -> None:
    bars = forming()
    bars.on(candle(660))
    bars.hear(10**18, NOW)
    assert bars.over(0) == () and bars.due(662)


def test_no_bar_of_before_the_connection_is_told_as_a_heartbeat() -> None:
    bars = forming()
    bars.hear(T0 + 31, NOW)
    assert bars.over(0) == () and not bars.due(T0 + 31)


def test_a_bar_that_changes_after_it_was_over_is_a_fault_and_one_that_repeats_is_none() -> None:
    bars = forming()
    bars.on(candle(660, 2.0))
    bars.on(candle(720))
    assert bars.on(candle(660, 2.0)) == ()
    with pytest.raises(FrameError, match="the bar that closed at 0 changed after it was over"):
        bars.on(candle(660, 3.0))
    with pytest.raises(FrameError, match="came after a later one"):
        bars.on(candle(700))


def test_a_bar_that_was_asked_for_yields_to_what_the_connection_told() -> None:
    bars = forming("A", "B")
    bars.on(candle(660, 2.0))
    assert bars.seed(candle(660, 1.5)) == ()
    assert told(bars.seed(candle(660, symbol="B"))) == [(660, False)]


def test_a_settlement_never_comes_between_two_bars_of_one_instant() -> None:
    bars = forming("A", "B")
    settled = Funding(symbol="A", ts_event=650, ts_recv=0, rate=0.1)
    for symbol in ("A", "B"):
        bars.on(candle(660, symbol=symbol))
    bars.on(candle(720, symbol="A"))  # A's bar is over, B's not yet
    bars.settled(settled)
    assert bars.over(0) == ()
    bars.hear(662, NOW)
    assert told(bars.over(0)) == [(660, True), "Heartbeat", "Funding"]
    bars.settled(settled)
    assert bars.over(0) == (settled,)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"open": math.nan}, "open = nan: must be a number above 0"),
        ({"close": math.inf, "high": math.inf}, "high = inf: must be a number above 0"),
        ({"volume": -1.0}, "volume = -1.0: must be a number of at least 0"),
        ({"high": 0.5}, "high = 0.5, low = 1.0: do not span"),
    ],
)
def test_an_impossible_bar_is_named(values: dict[str, float], fault: str) -> None:
    assert candle_fault(candle(660, **values)).startswith(fault)
    assert candle_fault(candle(660)) == ""


def test_a_minute_holds_no_more_weight_than_its_limit() -> None:
    budget, now, spent = Budget(1_200), 0.0, []
    for _ in range(200):
        now += budget.wait_s(now, 45)
        assert budget.wait_s(now, 45) == 0.0
        budget.spend(now, 45)
        spent.append(now)
    assert max(sum(45 for at in spent if begin <= at < begin + 60.0) for begin in spent) <= 1_200
    assert spent[-1] == pytest.approx(60.0 * (199 // 26))


def test_offline_means_this_machine_and_nothing_that_looks_like_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(
        on_loopback(url) for url in ("http://127.0.0.1:1/x", "ws://localhost/ws", "http://[::1]:2", "http://127.9.9.9")
    )
    far = ("https://api.example", "https://127.0.0.1.example", "http://localhost.example", "", "http://[x")
    assert not any(on_loopback(url) for url in far)
    monkeypatch.setenv("FLEA_OFFLINE", "1")
    with pytest.raises(ConfigError, match=r"FLEA_OFFLINE=1 forbids the connection of dialect 'x' to api\.example"):
        require_reach(["http://127.0.0.1", "https://api.example/ws"], "dialect 'x'")
    monkeypatch.setenv("FLEA_OFFLINE", "0")
    require_reach(["https://api.example"], "x")
