"""Faults of prints, bars and clocks are named; what is ordinary is not."""

import math

import pytest

from flea_lab.data.freshness import Freshness, stale_after_s
from flea_lab.data.health import FROZEN_AFTER, SKEW_WINDOW, CandleWatch, ClockWatch, FrozenWatch, TradeIds, TradeWatch
from flea_lab.data.market_watch import MarketWatch
from flea_lab.model.finding import Finding, Resync
from flea_lab.model.market import BookDelta, BookSnapshot, Candle, Funding, Levels, Side, Trade

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
T0 = 1_700_000_040 * SECOND  # on the minute


def a_print(number: int | None, price: float = 100.0, qty: float = 1.0, kind: str = "normal", ts: int = T0) -> Trade:
    side: Side = "buy"
    return Trade(
        symbol="X",
        ts_event=ts,
        ts_recv=ts,
        price=price,
        qty=qty,
        side=side,
        trade_id=number,
        kind=kind,  # type: ignore[arg-type]
    )


def a_bar(minute: int, close: float = 100.0, complete: bool = True, **said: float) -> Candle:
    ts = T0 + minute * MINUTE
    prices = {"open": 100.0, "high": 110.0, "low": 90.0, "close": close, "volume": 5.0} | said
    return Candle(symbol="X", ts_event=ts, ts_recv=ts + SECOND, complete=complete, **prices)


def kinds(*found: tuple[Finding | Resync, ...]) -> list[str]:
    return [one.kind for told in found for one in told if isinstance(one, Finding)]


@pytest.mark.parametrize(
    ("ids", "numbers", "expected"),
    [
        ("contiguous", [5, 6, 7], []),
        ("contiguous", [5, 7, 8], ["gap"]),
        ("contiguous", [5, 6, 6, 7], ["duplicate"]),
        ("contiguous", [5, 6, 7, 5, 8], ["duplicate"]),
        ("contiguous", [5, 7, 6, 8], ["gap", "out_of_order"]),
        ("unique", [90, 3, 50], []),
        ("unique", [90, 3, 90], ["duplicate"]),
        ("none", [5, 5, 9], []),
    ],
)
def test_prints_that_are_missing_doubled_or_late(ids: TradeIds, numbers: list[int], expected: list[str]) -> None:
    watch = TradeWatch("X", ids)
    assert kinds(*[watch.on(a_print(number)) for number in numbers]) == expected


def test_prints_without_an_id_are_not_counted() -> None:
    watch = TradeWatch("X", "contiguous")
    assert kinds(*[watch.on(a_print(None)) for _ in range(3)]) == []


@pytest.mark.parametrize(
    ("number", "kind"), [(0.0, "zero"), (-1.0, "negative"), (math.nan, "nan"), (math.inf, "nan"), (1000.0, "spike")]
)
def test_an_impossible_or_far_price_is_named_and_does_not_become_the_measure(number: float, kind: str) -> None:
    watch = TradeWatch("X", "contiguous")
    watch.on(a_print(1))
    assert kinds(watch.on(a_print(2, price=number))) == [kind]
    assert kinds(watch.on(a_print(3))) == []
    assert kinds(watch.on(a_print(4, price=1000.0, kind="insurance"))) == [], "no order of the book made that price"


def test_a_market_that_really_is_elsewhere_is_believed_after_three_prints() -> None:
    watch = TradeWatch("X", "contiguous")
    found = kinds(*[watch.on(a_print(at, price=100.0 if at == 1 else 200.0)) for at in range(1, 8)])
    assert found == ["spike"] * 3


def test_a_missing_minute_is_a_hole_with_its_length() -> None:
    watch = CandleWatch("X", MINUTE)
    watch.on(a_bar(1))
    (hole,) = watch.on(a_bar(4))
    assert (hole.kind, hole.ts_from, hole.ts_to) == ("hole", T0 + MINUTE, T0 + 3 * MINUTE)
    assert (hole.detail, hole.resolved) == ("2 bars are missing", "")
    watch = CandleWatch("X", MINUTE)
    assert [one.detail for n in (1, 3) for one in watch.on(a_bar(n))] == ["1 bar is missing"]


def test_a_bar_told_again_or_otherwise_or_forming_after_its_end() -> None:
    watch = CandleWatch("X", MINUTE)
    assert kinds(watch.on(a_bar(1, complete=False)), watch.on(a_bar(1)), watch.on(a_bar(2))) == []
    assert kinds(watch.on(a_bar(1))) == ["resent"]
    assert kinds(watch.on(a_bar(2, close=101.0))) == ["late_correction"]
    assert kinds(watch.on(a_bar(2, complete=False))) == ["resent"]
    assert kinds(watch.on(a_bar(0))) == ["out_of_order"]
    assert kinds(watch.on(a_bar(3))) == []


def test_a_bar_called_complete_before_its_close_is_early() -> None:
    watch = CandleWatch("X", MINUTE)
    assert kinds(watch.on(a_bar(2), now_ns=T0 + MINUTE + 30 * SECOND)) == ["early_close"]
    assert kinds(watch.on(a_bar(2), now_ns=T0 + 2 * MINUTE - SECOND)) == [], "clocks differ by that much"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"low": 105.0}, "impossible_bar"),
        ({"high": 99.0}, "impossible_bar"),
        ({"open": 0.0}, "zero"),
        ({"low": -1.0}, "negative"),
        ({"high": math.nan}, "nan"),
        ({"volume": -1.0}, "negative"),
        ({"volume": math.nan}, "nan"),
        ({"volume": math.inf}, "nan"),
    ],
)
def test_an_impossible_bar_is_named(said: dict[str, float], kind: str) -> None:
    assert kinds(CandleWatch("X", MINUTE).on(a_bar(1, **said))) == [kind]


def test_a_bar_off_its_grid_is_named() -> None:
    assert kinds(CandleWatch("X", 5 * MINUTE).on(a_bar(2))) == ["off_grid"]


def a_book(ts: int, bid: float = 99.0) -> BookSnapshot:
    return BookSnapshot(symbol="X", ts_event=ts, ts_recv=ts, seq=None, bids=((bid, 1.0),), asks=((101.0, 1.0),))


def a_diff(seq: int, ts: int, bids: Levels = ()) -> BookDelta:
    return BookDelta(symbol="X", ts_event=ts, ts_recv=ts, prev_seq=seq - 1, seq=seq, bids=bids)


def test_a_book_that_keeps_coming_and_says_nothing_new_is_frozen_once() -> None:
    watch = FrozenWatch("X")
    found = [kinds(watch.on(a_book(T0))) for _ in range(FROZEN_AFTER + 4)]
    assert [bool(kind) for kind in found].index(True) == FROZEN_AFTER
    assert sum(map(len, found)) == 1 and watch.frozen
    assert watch.on(a_book(T0, bid=98.0)) == () and not watch.frozen, "changed within the same millisecond"


def test_a_frozen_book_cannot_be_read_until_something_new_came_after_a_snapshot() -> None:
    watch, last = MarketWatch("seed", frozen_after=5), 7
    watch.on(BookSnapshot(symbol="X", ts_event=T0, ts_recv=T0, seq=1, bids=((99.0, 1.0),), asks=((101.0, 1.0),)))
    told = [watch.on(a_diff(seq, T0 + 1)) for seq in range(2, last + 1)]
    assert kinds(*told) == ["frozen"]
    assert [one.reason for one in told[-1] if isinstance(one, Resync)] == ["frozen"]
    assert watch.book("X") is None
    watch.on(BookSnapshot(symbol="X", ts_event=T0 + 9, ts_recv=T0, seq=7, bids=((99.0, 1.0),), asks=((101.0, 1.0),)))
    assert watch.book("X") is not None
    watch.on(a_diff(8, T0 + 1))
    assert watch.book("X") is None, "still the frozen channel"


def test_clocks_that_leap_are_named_whoever_leapt() -> None:
    def warm() -> ClockWatch:
        clock = ClockWatch()
        for at in range(30):
            assert clock.on("X", T0 + at * SECOND, T0 + at * SECOND + 5) == ()
        return clock

    now = T0 + 30 * SECOND
    assert kinds(warm().on("X", now, now + 90 * SECOND)) == ["clock_jump"]
    assert kinds(warm().on("X", now, now - 90 * SECOND)) == ["clock_jump"]
    assert kinds(warm().on("X", now + 3600 * SECOND, now)) == ["clock_jump"]
    assert kinds(warm().on("X", now - 60 * SECOND, now)) == [], "an old message is no leap of the clock"
    later = now + 3600 * SECOND
    assert kinds(warm().on("X", later, later)) == [], "an hour of silence is none either"


def test_the_difference_of_the_clocks_is_the_smallest_delay_and_named_when_it_is_too_much() -> None:
    clock = ClockWatch()
    assert clock.skew_ns is None
    found = []
    for at in range(2 * SKEW_WINDOW):
        ts = T0 + at * SECOND
        found += kinds(clock.on("X", ts, ts - 3 * SECOND + (at % 7) * 1_000_000))
    assert clock.skew_ns == -3 * SECOND
    assert found == ["clock_skew"]


@pytest.mark.parametrize("ts", [T0 // SECOND, T0 // 1_000_000, T0 // 1_000, T0 * 10])
def test_a_time_in_another_unit_is_named(ts: int) -> None:
    assert kinds(ClockWatch().on("X", ts, T0)) == ["time_unit"]


def test_freshness_is_by_venue_time_at_the_moment_of_use_and_per_channel() -> None:
    fresh = Freshness(stale_after_s("seed"), "seed")
    never = fresh.stale("book", "X", T0)
    assert never is not None and never.detail == "nothing heard yet"
    fresh.hear("book", "X", T0)
    assert fresh.stale("book", "X", T0 + 5 * SECOND) is None
    late = fresh.stale("book", "X", T0 + 5 * SECOND + 1)
    assert late is not None and (late.kind, late.ts_from, late.detail) == ("stale", T0, "5.000 s old, at most 5.0 s")
    fresh.hear("trades", "X", T0 + 9 * SECOND)
    assert fresh.stale("book", "X", T0 + 9 * SECOND) is not None, "another channel does not refresh it"
    fresh.hear("book", "X", T0 + 60 * SECOND)
    ahead = fresh.stale("book", "X", T0)
    assert ahead is not None and ahead.detail == "60.000 s ahead of the venue's clock"
    unknown = Freshness({})
    unknown.hear("book", "X", T0)
    refused = unknown.stale("book", "X", T0)
    assert refused is not None and refused.detail == "no limit is known for book"


def test_a_slow_venue_has_a_limit_of_its_own() -> None:
    assert stale_after_s("hyperliquid")["book"] == 6.5
    assert stale_after_s("nowhere")["book"] == 5.0


def test_a_watch_hears_every_channel_of_every_symbol_apart() -> None:
    watch = MarketWatch("binance_um")
    watch.on(a_print(5))
    other = Trade(symbol="Y", ts_event=T0, ts_recv=T0, price=1.0, qty=1.0, side="buy", trade_id=900)
    assert watch.on(other) == ()
    assert kinds(watch.on(a_print(8))) == ["gap"]
    assert watch.on(Funding(symbol="X", ts_event=T0, ts_recv=T0, rate=0.0001)) == ()
    assert watch.stale("funding", "X", T0) is None
    assert watch.stale("candles", "X", T0) is not None
    assert [(row.channel, row.kind, row.symbol) for row in watch.ledger.rows()] == [("trades", "gap", "X")]
    assert watch.book("X") is None
    assert watch.lost(T0) == ()
