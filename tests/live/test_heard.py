"""The bars that a session is said to have used are those that its core decided on."""

from collections.abc import Sequence

import pytest

from flea_lab.config import alphas
from flea_lab.core import Event
from flea_lab.live.heard import Heard
from flea_lab.model.market import MS_NS, Candle, Funding, Heartbeat
from flea_lab.model.trading import Doubt, Fill, Halt, WarmUp
from flea_lab.wiring import build_core
from tests.backtest.tiny import MINUTE, NOON, config


def close(bar: int) -> int:
    return (NOON + (bar + 1) * MINUTE) * MS_NS


def candle(bar: int, symbol: str = "X", price: float = 100.0) -> Candle:
    ts = close(bar)
    return Candle(
        symbol=symbol, ts_event=ts, ts_recv=ts, open=price, high=price, low=price, close=price, volume=1.0,
        buy_volume=0.5,
    )  # fmt: skip


def heard(events: Sequence[Event], *symbols: str) -> Heard:
    found = Heard(symbols or ("X",), MINUTE)
    for event in events:
        found.on(event)  # type: ignore[arg-type]
    return found


def warm(bar: int, at: int | None = None) -> WarmUp:
    return WarmUp(ts_event=close(bar) if at is None else at, until_ns=close(bar))


CASES: dict[str, tuple[Event, ...]] = {
    "whole bars": tuple(candle(i, s) for i in range(4) for s in ("X", "Y")),
    "one is missing": (candle(0), candle(0, "Y"), candle(1), candle(2), candle(2, "Y"), candle(1, "Y")),
    "a heartbeat says so": (candle(0), Heartbeat(ts_event=close(0)), candle(0, "Y"), candle(1), candle(1, "Y")),
    "twice": (candle(0), candle(0), candle(0, "Y"), candle(0), candle(1), candle(1, "Y")),
    "a warm-up drops what waits": (candle(0), warm(1, 5), candle(0), candle(0, "Y"), candle(1), candle(1, "Y")),
    "out of order": (candle(1), candle(0), candle(1, "Y"), candle(2, "Y"), candle(2)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_candle_is_used_where_the_core_uses_it(name: str) -> None:
    run = config(("X", "Y"))
    core = build_core(run, alphas(run), 0)
    marked: list[tuple[str, int]] = []
    right = core._see
    core._see = lambda s, one: (marked.append((one.symbol, one.ts_event)), right(s, one))[1]  # type: ignore[method-assign]
    for event in CASES[name]:
        core.on(event)
    found = heard(CASES[name], "X", "Y")
    assert [(taken.candle.symbol, taken.candle.ts_event) for taken in found.taken] == marked
    given = sum(isinstance(event, Candle) for event in CASES[name])
    waiting, dropped = len(core.dump().waiting), int("drops" in name)
    assert len(found.taken) + sum(found.unused.values()) + waiting + dropped == given


def test_history_ends_with_the_last_warm_up_and_holes_are_those_between_live_candles() -> None:
    events = [warm(2, 5), *(candle(i) for i in (0, 2, 3, 4, 7)), warm(8), candle(8), candle(9)]
    [row] = heard(events).ledger().to_dict("records")
    assert (row["history"], row["live"], row["stale"]) == (3, 4, 1)
    assert (row["holes"], row["missing"], row["longest"]) == (1, 2, [(close(4) // MS_NS, 2)])
    assert heard(events).first_live_ms() == close(3) // MS_NS


def test_settlements_count_once_and_only_when_settled() -> None:
    told = [
        Funding(symbol="X", ts_event=close(n), ts_recv=close(n), rate=0.1 * n, state=state)
        for n, state in ((1, "settled"), (1, "settled"), (2, "predicted"), (3, "settled"))
    ]
    found = heard(told).funding()["X"]
    assert found["ts"].tolist() == [close(1) // MS_NS, close(3) // MS_NS]
    assert found["funding_rate"].tolist() == pytest.approx([0.1, 0.3])


def test_a_control_belongs_to_the_next_bar_before_its_opens_unless_something_filled() -> None:
    halt = Halt(ts_event=close(1), reason="a person")
    fill = Fill(
        client_order_id="a", ts_event=close(1), symbol="X", side="buy", lots=1, price_ticks=1, fee_uusd=0,
        reference_ticks=1,
    )  # fmt: skip
    found = heard([warm(0, 5), candle(0), candle(1), halt, candle(2), fill, halt, candle(3), candle(4)])
    assert found.controls == {close(0): ([warm(0, 5)], []), close(2): ([halt], []), close(3): ([], [halt])}


def test_a_doubt_is_a_control_of_the_next_bar() -> None:
    doubt = Doubt(ts_event=close(0), symbol="X", kind="late_correction")
    found = heard([candle(0), candle(0, "Y"), candle(1), doubt, candle(1, "Y"), candle(2)], "X", "Y")
    assert found.controls == {close(1): ([doubt], [])}


def test_nothing_heard_is_an_empty_ledger() -> None:
    found = heard([])
    assert found.first_live_ms() is None and found.candles()["X"].empty
    [row] = found.ledger().to_dict("records")
    assert (row["history"], row["live"], row["holes"], row["first_ms"]) == (0, 0, 0, None)
