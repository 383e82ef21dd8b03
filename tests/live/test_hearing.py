"""What comes between two bars: watched, measured, and taken up again after a restart."""

from math import isnan
from typing import get_args

from msgspec.structs import replace

from flea_lab.data.features import BarFeatures, FeatureSettings
from flea_lab.live.hearing import Hearing, reads_prints
from flea_lab.model.finding import Finding, Kind, Resync
from flea_lab.model.market import BookDelta, BookSnapshot, Candle, Features, Trade
from flea_lab.model.trading import Doubt
from flea_lab.risk.tolerance import Fault, Tolerance
from tests.backtest.tiny import config

MINUTE = 60_000_000_000
START = 29_000_000 * MINUTE


def hearing() -> Hearing:
    settings = FeatureSettings(bucket_volume=1.0, window=2, fresh_s=60.0)
    return Hearing("purpleflea-seed", "1m", {"X": BarFeatures(MINUTE, settings)}, wall_clock=False)


def book(at: int, seq: int, bid_qty: float = 3.0) -> BookSnapshot:
    ts = START + at
    levels = {"bids": ((99.0, bid_qty),), "asks": ((101.0, 1.0),)}
    return BookSnapshot(symbol="X", ts_event=ts, ts_recv=ts, seq=seq, **levels)


def delta(at: int, prev: int, seq: int) -> BookDelta:
    return BookDelta(symbol="X", ts_event=START + at, ts_recv=START + at, prev_seq=prev, seq=seq, bids=((99.0, 1.0),))


def trade(at: int, side: str, number: int) -> Trade:
    ts = START + at
    return Trade(symbol="X", ts_event=ts, ts_recv=ts, price=100.0, qty=1.0, side=side, trade_id=number)  # type: ignore[arg-type]


def candle(bar: int) -> Candle:
    ts = START + bar * MINUTE
    return Candle(symbol="X", ts_event=ts, ts_recv=ts, open=100.0, high=100.0, low=100.0, close=100.0, volume=1.0)


def measured(heard: Hearing, bar: int) -> Features:
    features, _ = heard.bar(candle(bar))
    assert features is not None and features.ts_event == START + bar * MINUTE
    return features


def test_a_bar_offers_the_book_that_can_be_vouched_for() -> None:
    heard = hearing()
    heard.on(book(10, 1))
    assert measured(heard, 1).imbalance == 0.5
    told = heard.on(delta(MINUTE + 10, 7, 8))
    assert [one.reason for one in told if isinstance(one, Resync)] == ["gap"]
    assert isnan(measured(heard, 2).imbalance)
    heard.on(book(2 * MINUTE + 10, 9, bid_qty=1.0))
    assert measured(heard, 3).imbalance == 0.0


def test_what_was_measured_is_taken_up_after_a_restart_and_the_broken_bar_is_not() -> None:
    heard = hearing()
    for n, side in enumerate(("buy", "buy", "sell")):
        heard.on(trade(n + 1, side, n))
    heard.on(book(10, 1))
    before = measured(heard, 1)
    assert before.vpin == before.vpin

    again = hearing()
    again.load(heard.dump())
    again.on(trade(MINUTE + 5, "sell", 3))
    after, whole = measured(again, 2), hearing()
    for n, side in enumerate(("buy", "buy", "sell")):
        whole.on(trade(n + 1, side, n))
    whole.bar(candle(1))
    whole.on(trade(MINUTE + 5, "sell", 3))
    assert after.vpin == measured(whole, 2).vpin
    assert isnan(after.imbalance) and isnan(after.trades)


def test_nobody_who_reads_features_is_told_none() -> None:
    heard = Hearing("purpleflea-seed", "1m", {}, wall_clock=False)
    heard.on(book(10, 1))
    assert heard.bar(candle(1))[0] is None
    assert heard.dump() == ""


def test_a_lost_connection_leaves_no_book_to_read() -> None:
    heard = hearing()
    heard.on(book(10, 1))
    heard.lost(START + 20)
    assert isnan(measured(heard, 1).imbalance)


def test_a_fault_that_is_not_tolerated_is_a_doubt_where_its_channel_is_read() -> None:
    def doubted(tolerance: Tolerance | None = None, *, prints: bool = True, wall_clock: bool = True) -> set[str]:
        heard = Hearing("seed", "1m", {}, wall_clock=wall_clock, tolerance=tolerance, prints=prints)
        told = [
            heard.doubt(Finding(kind=kind, channel=channel, symbol="X", ts_from=7))  # type: ignore[arg-type]
            for channel in ("book", "trades", "candles")
            for kind in get_args(Kind)
        ]
        assert all((one.symbol, one.ts_event) == ("X", 7) for one in told if one)
        return {one.kind for one in told if one}

    candles = {"early_close", "impossible_bar", "late_correction", "off_grid"}
    assert doubted() == candles | {"gap", "disconnected"}
    assert doubted(prints=False) == candles
    assert doubted(wall_clock=False, prints=False) == candles - {"early_close"}
    assert doubted(Tolerance(kinds=("hole",)), prints=False) == candles | {"resent"}
    assert doubted(Tolerance(kinds=get_args(Fault))) == set()


def test_a_correction_is_a_doubt_and_a_lost_connection_one_of_prints() -> None:
    features = {"X": BarFeatures(MINUTE, FeatureSettings())}
    for prints in (False, True):
        heard = Hearing("seed", "1m", features, prints=prints)
        heard.bar(candle(1))
        [found] = [one for one in heard.bar(replace(candle(1), close=99.0, low=99.0))[1] if isinstance(one, Finding)]
        assert heard.doubt(found) == Doubt(ts_event=START + MINUTE, symbol="X", kind="late_correction")
        lost = [one for one in heard.lost(START + MINUTE) if isinstance(one, Finding) and one.channel == "trades"]
        told = [heard.doubt(one) for one in lost]
        assert told == [Doubt(ts_event=START + MINUTE, symbol="X", kind="disconnected")] * prints


def test_prints_are_read_where_a_signal_or_the_guard_does() -> None:
    assert not reads_prints(config())
    assert reads_prints(config(risk={"vpin": {"source": "trades", "bucket_volume": {"X": 1.0}}}))
    for kernel, reads in (("trade_tick_imbalance", True), ("book_imbalance", False)):
        assert reads_prints(config(signals=[{"kernel": kernel}])) is reads
