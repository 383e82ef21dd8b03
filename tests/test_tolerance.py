"""What data a config tolerates: a symbol stays out after a hole or a doubt for so many of its bars, and no longer."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flea_lab.backtest.metrics import METRICS
from flea_lab.backtest.replay import Controls, replay
from flea_lab.config import RunConfig, alphas
from flea_lab.core import TradingCore
from flea_lab.model.trading import Alert, Command, Doubt, NewOrder, Refused
from flea_lab.risk.checks import DATA, NAMES
from flea_lab.risk.tolerance import LEFT, NEVER_NS, Doubts, Tolerance, longest_hole_ns, take_bar
from flea_lab.wiring import build_core, build_exchange
from tests.backtest.tiny import both, codes, config, tiny
from tests.test_core import MINUTE, NOON, a_core, a_fill, candle


def strict(holes: int | None = 0, settle: int = 1, symbols: Sequence[str] = ("X",), **sections: Any) -> RunConfig:
    tolerance = {"settle_bars": settle} | ({} if holes is None else {"max_hole_bars": holes})
    return config(symbols, tolerance=tolerance, **sections)


def told(core: TradingCore, bars: Sequence[int], symbol: str = "X") -> list[str]:
    """What became of the intent of each bar: a check's name, or "order"."""
    return [said(core.on(candle(symbol, bar))) for bar in bars]


def said(commands: tuple[Command, ...]) -> str:
    [command] = [one for one in commands if isinstance(one, NewOrder | Refused)]
    return NAMES[command.code] if isinstance(command, Refused) else "order"


def doubt(bar: int, symbol: str = "X", kind: str = "late_correction") -> Doubt:
    return Doubt(ts_event=NOON + bar * MINUTE, symbol=symbol, kind=kind)


@pytest.mark.parametrize(
    ("holes", "settle", "found"),
    [
        (None, 3, "order order order order order order"),
        (0, 1, "order order data order data order"),  # bars 1 2, 4 5, 8 9
        (1, 1, "order order order order data order"),
        (2, 5, "order order order order order order"),
        (0, 2, "order order data data data data"),
        (0, 9, "order order data data data data"),
    ],
)
def test_after_a_longer_hole_so_many_bars_are_not_decided_on(holes: int | None, settle: int, found: str) -> None:
    assert told(a_core(strict(holes, settle)), [1, 2, 4, 5, 8, 9]) == found.split()


def test_a_hole_puts_out_only_its_own_symbol() -> None:
    core = a_core(strict(symbols=("X", "Y")))
    for bar in (1, 2):
        core.on(candle("X", bar))
        core.on(candle("Y", bar))
    core.on(candle("X", 3))
    core.on(candle("X", 4))
    x, y = core.on(candle("Y", 4))
    assert isinstance(x, NewOrder) and x.symbol == "X"
    assert isinstance(y, Refused) and (y.intent.symbol, y.code) == ("Y", DATA)


def test_what_only_reduces_passes_while_a_symbol_is_out() -> None:
    core = a_core(strict(settle=9))
    [order] = core.on(candle("X", 1))
    assert isinstance(order, NewOrder)
    core.on(a_fill(order))
    [less] = core.on(candle("X", 5, say=-0.25))
    assert isinstance(less, NewOrder) and less.side == "sell"
    core.on(a_fill(less))
    [over] = core.on(candle("X", 6, say=-1.0))
    assert isinstance(over, Refused) and over.code == DATA
    [more] = core.on(candle("X", 7))
    assert isinstance(more, Refused) and more.code == DATA


def test_bars_that_only_warm_up_count_as_bars_and_their_holes_as_holes() -> None:
    core = a_core(strict(settle=2), trade_from=6)
    assert all(core.on(candle("X", bar)) == () for bar in (1, 4, 5))
    assert told(core, [6, 7]) == ["order", "order"]
    core = a_core(strict(settle=3), trade_from=6)
    assert all(core.on(candle("X", bar)) == () for bar in (1, 4, 5))
    assert told(core, [6, 7]) == ["data", "order"]


@pytest.mark.parametrize("holes", [None, 0])
def test_a_doubt_puts_its_symbol_out_for_its_next_bars(holes: int | None) -> None:
    core = a_core(strict(holes, 2))
    assert told(core, [1]) == ["order"]
    assert core.on(doubt(1)) == ()
    assert told(core, [2]) == ["data"]
    assert core.on(doubt(2, kind="gap")) == (), "a second one: the bars are counted from it"
    assert told(core, [3, 4, 5, 6]) == ["data", "data", "order", "order"]


def test_a_doubt_before_the_decision_of_a_bar_that_waits_is_of_that_bar() -> None:
    core = a_core(strict(symbols=("X", "Y")))
    core.on(candle("X", 1))
    core.on(doubt(1))
    x, y = core.on(candle("Y", 1))
    assert isinstance(x, Refused) and x.code == DATA
    assert isinstance(y, NewOrder)


def test_a_doubt_of_a_stranger_is_told_and_changes_nothing() -> None:
    core = a_core(strict())
    [alert] = core.on(doubt(1, "Z"))
    assert alert == Alert(ts_event=NOON + MINUTE, severity="warning", text="doubt of Z, which is not traded here")
    assert told(core, [1]) == ["order"]


@pytest.mark.parametrize("holes", [None, 1])
@pytest.mark.parametrize("cut", range(9))
def test_a_core_that_was_saved_and_loaded_stays_out_as_long(holes: int | None, cut: int) -> None:
    run = strict(holes, 3)
    events = [candle("X", 1), candle("X", 2), doubt(2), *(candle("X", bar) for bar in (3, 4, 7, 8, 9, 10))]
    whole, first, second = (a_core(run) for _ in range(3))
    expected = [whole.on(event) for event in events]
    found = [first.on(event) for event in events[:cut]]
    second.load(first.dump())
    for order in first.router.blotter.open_orders():
        second.router.blotter.restore(order)
    found += [second.on(event) for event in events[cut:]]
    assert found == expected
    assert msgspec.msgpack.encode(second.dump()) == msgspec.msgpack.encode(whole.dump())


HOLED = [(i, 100.0, 100.0, 0.1) for i in (0, 1, 2, 3, 6, 7, 8, 10, 11, 20, 21, 22, 23)]


@pytest.mark.parametrize(
    ("holes", "settle", "out"), [(None, 4, ""), (0, 1, "6 10 20"), (1, 2, "6 7 20 21"), (2, 9, "20 21 22 23")]
)
def test_fold_and_replay_stay_out_of_the_same_bars(holes: int | None, settle: int, out: str) -> None:
    run = strict(holes, settle)
    seen, _, folded = both(run, tiny(run, {"X": HOLED}))
    minutes = [int(ts - seen.decisions["ts_ns"][0]) // MINUTE for ts in seen.decisions["ts_ns"]]
    assert [m for m, code in zip(minutes, codes(seen), strict=True) if code == "data"] == [
        int(bar) for bar in out.split()
    ]
    assert folded.metrics[METRICS.index("veto_data")] == len(out.split()), "counts what was refused for its data"


def test_a_doubt_among_the_controls_of_a_replay_is_of_its_bar() -> None:
    run = strict(None, 2)
    market = tiny(run, {"X": [(i, 100.0, 100.0, 0.1) for i in range(6)]})
    core = build_core(run, alphas(run), 0)
    seen = replay(market, core, build_exchange(run), controls={2: Controls([doubt(2)], [])})
    assert codes(seen) == ["passed", "passed", "data", "data", "passed", "passed"]


def slow(closes: Sequence[int], longest: int, settle: int, doubted: set[int]) -> list[bool]:
    """Which bars may not be decided on: the rule from its words. `doubted` are positions before which one came."""
    out = []
    for at in range(len(closes)):
        faults = [n for n in range(at + 1) if n in doubted or (n and closes[n] - closes[n - 1] > longest)]
        out.append(any(at - n < settle for n in faults))
    return out


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=40),
    st.one_of(st.none(), st.integers(0, 4)),
    st.integers(1, 8),
    st.sets(st.integers(0, 39), max_size=4),
)
def test_the_rule_is_what_its_words_say(steps: list[int], holes: int | None, settle: int, doubted: set[int]) -> None:
    closes = (np.cumsum(steps) + 1_000).tolist()
    tolerance = Tolerance(max_hole_bars=holes, settle_bars=settle)
    longest = longest_hole_ns(tolerance, 1)
    doubts, found = Doubts(tolerance, ("X",), 1), []
    for at, close in enumerate(closes):
        if at in doubted:
            doubts.doubt("X")
        if doubts.awake:
            doubts.bar("X", close)
        found.append(doubts.awake and doubts.unsettled("X"))
    assert found == slow(closes, longest, settle, doubted)
    if not doubted:
        rows, seen = np.zeros((1, 2), np.int64), []
        for close in closes:
            take_bar(rows, 0, close, longest, settle)
            seen.append(bool(rows[0, LEFT] > 0))
        assert seen == found
    assert float(NEVER_NS) == NEVER_NS
