"""A session's data ledger holds what was told and what was missed, each once."""

import pandas as pd

from flea_lab.live.heard import Heard
from flea_lab.live.session_findings import session_findings
from flea_lab.model.finding import Finding
from flea_lab.model.market import MS_NS, Candle
from flea_lab.model.trading import WarmUp
from tests.backtest.tiny import MINUTE, NOON


def close(bar: int) -> int:
    return (NOON + (bar + 1) * MINUTE) * MS_NS


def candle(bar: int) -> Candle:
    ts = close(bar)
    return Candle(symbol="X", ts_event=ts, ts_recv=ts, open=1.0, high=1.0, low=1.0, close=1.0, volume=1.0)


def heard(*events: Candle | WarmUp) -> Heard:
    found = Heard(("X",), MINUTE)
    for event in events:
        found.on(event)
    return found


def rows(found: pd.DataFrame) -> list[tuple[str, int, str]]:
    """Kind, the bar at whose close it begins, and how it was resolved."""
    begun = (found["ts_from"].astype("int64") // MS_NS - NOON) // MINUTE - 1
    return list(zip(found["kind"], begun, found["resolved"], strict=True))


def hole(after: int, until: int) -> Finding:
    return Finding(kind="hole", channel="candles", symbol="X", ts_from=close(after), ts_to=close(until), venue="v")


MARKET = heard(candle(0), candle(1), candle(4), candle(3), candle(4), candle(5))


def test_holes_and_late_candles_are_there_though_nobody_watched() -> None:
    found = session_findings([], MARKET, "v")
    assert rows(found) == [("hole", 1, ""), ("out_of_order", 3, "ignored"), ("resent", 4, "ignored")]
    assert found["detail"][0] == "2 bars are missing" and set(found["venue"]) == {"v"}


def test_what_the_detectors_said_is_said_once() -> None:
    said = Finding(
        kind="resent", channel="candles", symbol="X", ts_from=close(4), ts_to=close(4), resolved="told", venue="v"
    )
    found = session_findings([hole(1, 3), said], MARKET, "v")
    assert rows(found) == [("hole", 1, ""), ("out_of_order", 3, "ignored"), ("resent", 4, "told")]


def test_a_candle_that_came_too_late_to_be_decided_on_is_stale() -> None:
    late = WarmUp(ts_event=close(1), until_ns=close(1))
    found = session_findings([], heard(candle(0), late, candle(1), candle(2)), "v")
    assert rows(found) == [("stale", 1, "warmed up only")]


def test_a_broken_book_and_the_snapshot_that_ended_it_are_one_row() -> None:
    broken = Finding(kind="gap", channel="book", symbol="X", ts_from=close(2), venue="v")
    good = Finding(
        kind="gap", channel="book", symbol="X", ts_from=close(2), ts_to=close(3), resolved="snapshot", venue="v"
    )
    assert rows(session_findings([broken, good], heard(), "v")) == [("gap", 2, "snapshot")]
    [lasting] = session_findings([broken], heard(), "v").itertuples()
    assert lasting.ts_to is pd.NaT
