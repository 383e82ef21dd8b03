"""What a bar offers at its close: by hand, message by message; nothing of the future; the same when taken up again."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from flea_lab.data.features import BarFeatures, FeatureSettings, FeatureState, Seen, features_of, look
from flea_lab.errors import DataError
from flea_lab.model.market import BookSnapshot, Candle, Features, Funding, Heartbeat, Trade
from flea_lab.model.vouched import Vouched
from flea_lab.signal.kernel import FEATURES
from tests.reference import slow

S = 1_000_000_000
MINUTE = 60 * S
T0 = 1_700_000_040 * S  # a whole minute
HOW = FeatureSettings()


def book(at: float, bid: float = 99.0, ask: float = 101.0, bids: float = 3.0, asks: float = 1.0) -> BookSnapshot:
    ts = T0 + round(at * S)
    return BookSnapshot(symbol="X", ts_event=ts, ts_recv=ts, seq=None, bids=((bid, bids),), asks=((ask, asks),))


def trade(at: float, side: str = "buy", qty: float = 1.0, kind: Any = "normal") -> Trade:
    ts = T0 + round(at * S)
    return Trade(symbol="X", ts_event=ts, ts_recv=ts, price=100.0, qty=qty, side=side, kind=kind)  # type: ignore[arg-type]


def rate(at: float, value: float, state: Any = "current", due: float | None = None) -> Funding:
    ts = T0 + round(at * S)
    return Funding(
        symbol="X",
        ts_event=ts,
        ts_recv=ts,
        rate=value,
        state=state,
        due_ns=None if due is None else T0 + round(due * S),
    )


def candle(at: float, complete: bool = True) -> Candle:
    values = dict.fromkeys(("open", "high", "low", "close", "volume"), 1.0)
    return Candle(symbol="X", ts_event=T0 + round(at * S), ts_recv=0, complete=complete, **values)


def closed(events: list[Any], at: float = 60.0, settings: FeatureSettings = HOW) -> dict[str, float]:
    """The features of the bar that closes at `at` seconds after T0."""
    made = BarFeatures(MINUTE, settings)
    for event in events:
        made.on(event)
    return dict(zip(FEATURES, made.close(T0 + round(at * S)), strict=True))


def test_the_book_is_the_last_one_of_the_bar() -> None:
    found = closed([book(5), book(59, 98.0, 102.0, 1.0, 3.0), book(61, bids=9.0)])
    assert (found["imbalance"], found["spread_bps"]) == (-0.5, 400.0)


def test_a_book_at_the_very_close_is_in_the_bar_and_one_after_it_is_not() -> None:
    assert closed([book(60)])["imbalance"] == 0.5
    assert np.isnan(closed([book(60.000000001)])["imbalance"])


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([], "none came"),
        ([book(49.9)], "older than 10 s"),
        ([book(59), book(59.5, 101.0, 101.0)], "locked"),
        ([book(59), book(59.5, bids=0.0)], "no size"),
    ],
)
def test_a_book_that_says_nothing_is_not_known(events: list[Any], why: str) -> None:
    assert np.isnan([closed(events)["imbalance"], closed(events)["spread_bps"]]).all(), why


def test_only_the_best_levels_count() -> None:
    bids, asks = tuple((99.0 - i, 1.0) for i in range(12)), tuple((101.0 + i, 3.0) for i in range(12))
    deep = BookSnapshot(symbol="X", ts_event=T0, ts_recv=T0, seq=None, bids=bids, asks=(*asks[:2], (103.0, 1e9)))
    assert look(deep, 2)[0] == (2.0 - 6.0) / 8.0
    assert look(deep, 1_000)[0] < -0.999


def test_a_vouched_book_is_read_as_its_snapshot() -> None:
    plain = book(59)
    assert closed([Vouched.of(plain, "sequence")])["imbalance"] == 0.5


def test_prints_are_counted_by_aggressor_whatever_their_size() -> None:
    events = [trade(-5), trade(0.1), trade(1, qty=50.0), trade(2, "sell"), trade(60), trade(60.1, "sell")]
    made = BarFeatures(MINUTE, HOW)
    made.close(T0 - MINUTE)
    for event in events:
        made.on(event)
    first = dict(zip(FEATURES, made.close(T0), strict=True))
    second = dict(zip(FEATURES, made.close(T0 + MINUTE), strict=True))
    third = dict(zip(FEATURES, made.close(T0 + 2 * MINUTE), strict=True))
    assert np.isnan(first["trades"]), "prints were first heard within that bar"
    assert (second["trades"], second["trade_imbalance"]) == (4.0, 0.5)
    assert (third["trades"], third["trade_imbalance"]) == (1.0, -1.0)


def test_a_bar_without_prints_has_none_and_is_balanced() -> None:
    made = BarFeatures(MINUTE, HOW)
    made.on(trade(1))
    made.close(T0 + MINUTE)
    found = dict(zip(FEATURES, made.close(T0 + 2 * MINUTE), strict=True))
    assert (found["trades"], found["trade_imbalance"]) == (0.0, 0.0)


def test_prints_of_insurance_and_liquidation_are_not_counted() -> None:
    made = BarFeatures(MINUTE, FeatureSettings(bucket_volume=1.0, window=1))
    made.on(trade(1))
    made.close(T0 + MINUTE)
    for event in (trade(61), trade(62, "sell", 9.0, "liquidation"), trade(63, "sell", 9.0, "insurance")):
        made.on(event)
    found = dict(zip(FEATURES, made.close(T0 + 2 * MINUTE), strict=True))
    assert (found["trades"], found["trade_imbalance"], found["vpin"]) == (1.0, 1.0, 1.0)


def test_what_comes_after_its_bars_candle_counts_in_no_bar_and_still_in_vpin() -> None:
    made = BarFeatures(MINUTE, FeatureSettings(bucket_volume=1.0, window=2))
    made.on(trade(1))
    made.close(T0 + MINUTE)
    made.on(trade(59, "sell"))
    found = dict(zip(FEATURES, made.close(T0 + 2 * MINUTE), strict=True))
    assert (found["trades"], found["vpin"]) == (0.0, 1.0)


def test_prints_in_a_hole_of_the_candles_are_of_no_bar() -> None:
    made = BarFeatures(MINUTE, HOW)
    made.on(trade(1))
    made.close(T0 + MINUTE)
    for event in (trade(70), trade(130), trade(170, "sell")):
        made.on(event)
    found = dict(zip(FEATURES, made.close(T0 + 3 * MINUTE), strict=True))
    assert (found["trades"], found["trade_imbalance"]) == (2.0, 0.0)


def test_a_candle_that_comes_after_the_market_went_on_without_it_knows_nothing() -> None:
    made = BarFeatures(MINUTE, HOW)
    for at in (1, 59, 61, 119.5, 120.5):
        made.on(book(at))
    assert np.isnan(made.close(T0 + MINUTE)).all()
    assert dict(zip(FEATURES, made.close(T0 + 2 * MINUTE), strict=True))["imbalance"] == 0.5


def test_a_lost_channel_says_nothing_until_it_is_whole_again() -> None:
    made = BarFeatures(MINUTE, HOW)
    made.on(trade(1))
    made.close(T0 + MINUTE)
    made.on(book(119))
    made.lose("book")
    made.on(trade(61))
    made.lose("trades")
    made.on(trade(62))
    found = dict(zip(FEATURES, made.close(T0 + 2 * MINUTE), strict=True))
    assert np.isnan([found["imbalance"], found["spread_bps"], found["trades"], found["trade_imbalance"]]).all()
    made.on(book(179))
    made.on(trade(121))
    found = dict(zip(FEATURES, made.close(T0 + 3 * MINUTE), strict=True))
    assert (found["imbalance"], found["trades"]) == (0.5, 1.0)


def test_the_rate_ahead_is_that_of_the_running_interval_until_it_settles() -> None:
    hour = 3_600.0
    made = BarFeatures(MINUTE, FeatureSettings(funding_interval_h=1))
    for event in (rate(1, 1e-4, due=hour), rate(2, 2e-4, "predicted"), rate(3, 9.0, "settled")):
        made.on(event)
    before = made.close(T0 + MINUTE)[5:]
    at = made.close(T0 + round(hour * S))[5:]
    assert before == (1e-4, 2e-4, (hour - 60.0) / hour)
    assert at[0] == 2e-4 and np.isnan(at[1]) and at[2] == 1.0, "decided at the settlement, it fills after it"
    made.on(rate(hour + 1, 5e-4, due=2 * hour))
    assert made.close(T0 + round(hour * S) + MINUTE)[5] == 5e-4


def test_a_rate_without_its_time_settles_by_the_instruments_interval() -> None:
    found = closed([rate(1, 1e-4)])
    assert found["current_rate"] == 1e-4
    due = (T0 // (8 * 3_600 * S) + 1) * 8 * 3_600 * S
    assert found["hours_to_funding"] == (due - T0 - MINUTE) / (3_600 * S)


def test_features_worked_out_before_stand_for_the_messages() -> None:
    told = Features(symbol="X", ts_event=T0 + MINUTE, ts_recv=0, imbalance=0.25, vpin=0.5)
    found = closed([book(59), told])
    assert (found["imbalance"], found["vpin"]) == (0.25, 0.5)
    assert np.isnan(found["spread_bps"])
    assert closed([book(119), told], 120.0)["imbalance"] == 0.5, "of another bar they say nothing"


def test_a_row_is_of_its_bar_only() -> None:
    made = BarFeatures(MINUTE, HOW)
    made.on(book(59))
    made.on(candle(60, complete=False))
    assert np.isnan(made.row(T0 + MINUTE)).all()
    made.on(candle(60))
    assert made.row(T0 + MINUTE)[0] == 0.5
    assert np.isnan(made.row(T0 + 2 * MINUTE)).all()
    again = made.close(T0 + MINUTE)
    assert again == made.row(T0 + MINUTE), "a candle told twice changes nothing"


def stream(n: int = 3_000, seed: int = 5) -> list[Any]:
    """Messages of 50 bars, some early, some late, candles a little after their close; not every bar has one."""
    rng = np.random.default_rng(seed)
    out: list[tuple[float, Any]] = []
    for at in np.sort(rng.uniform(0.0, 3_000.0, n)):
        lag = float(rng.exponential(0.2))
        pick = rng.random()
        event: Seen = trade(at, str(rng.choice(["buy", "sell"])), float(rng.integers(1, 9)))
        if pick < 0.4:
            event = book(at, bids=float(rng.integers(0, 5)), asks=float(rng.integers(1, 5)))
        elif pick < 0.42:
            event = rate(at, float(rng.normal()), str(rng.choice(["current", "predicted"])))
        out.append((at + lag, event))
    out += [(60.0 * k + float(rng.exponential(0.3)), candle(60.0 * k)) for k in range(1, 51) if rng.random() < 0.95]
    return [event for _, event in sorted(out, key=lambda item: item[0])]


MEASURED = FeatureSettings(bucket_volume=40.0, window=5)


@pytest.mark.parametrize("cut", [0, 1, 700, 1_501, 2_900])
def test_nothing_that_comes_later_changes_a_bar(cut: int) -> None:
    events = stream()
    whole = features_of(events, "1m", MEASURED, "X")
    other = features_of(events[:cut] + stream(seed=6)[cut:], "1m", MEASURED, "X")
    same = sum(isinstance(event, Candle) for event in events[:cut])
    pd.testing.assert_frame_equal(whole[:same], other[:same])
    assert len(whole) > 40
    assert whole["vpin"].notna().sum() > 30


@pytest.mark.parametrize("cut", range(0, 3_000, 271))
def test_features_put_down_and_taken_up_go_on_to_the_bit(cut: int) -> None:
    events = stream()
    made, whole = BarFeatures(MINUTE, MEASURED), BarFeatures(MINUTE, MEASURED)
    for i, event in enumerate(events):
        if i == cut:
            saved = msgspec.msgpack.decode(msgspec.msgpack.encode(made.dump()), type=FeatureState)
            made = BarFeatures(MINUTE, MEASURED)
            made.load(saved)
        made.on(event)
        whole.on(event)
        assert repr(made.row(event.ts_event)) == repr(whole.row(event.ts_event))
    assert msgspec.msgpack.encode(made.dump()) == msgspec.msgpack.encode(whole.dump())
    with pytest.raises(DataError, match="the saved features hold 80 bytes of VPIN, these settings need 0"):
        BarFeatures(MINUTE, HOW).load(made.dump())


def test_vpin_of_the_prints_equals_the_slow_reference_trade_by_trade() -> None:
    prints = [event for event in stream() if isinstance(event, Trade)]
    bought = [event.qty if event.side == "buy" else 0.0 for event in prints]
    sold = [event.qty if event.side == "sell" else 0.0 for event in prints]
    expected = slow.vpin(bought, sold, 40.0, 5)
    made = BarFeatures(MINUTE, MEASURED)
    for event in prints:
        made.on(event)
    last = dict(zip(FEATURES, made.close(T0 + 50 * MINUTE), strict=True))["vpin"]
    assert abs(last - expected[-1]) < 1e-12


@pytest.mark.real_data
def test_vpin_of_the_prints_equals_the_golden_tape(data_dir: Path) -> None:
    case = json.loads((data_dir / "expected/vpin_cases.json").read_text())["tape_case"]
    tape = pd.read_parquet(data_dir / case["tape"])
    made = BarFeatures(MINUTE, FeatureSettings(bucket_volume=case["bucket_volume"], window=case["window"]))
    for i, row in enumerate(tape.itertuples()):
        side, kind = "sell" if row.is_buyer_maker else "buy", "normal" if row.kind == "MARKET" else "insurance"
        made.on(trade(i * 1e-6, side, float(row.qty), kind))  # type: ignore[arg-type]
    last = dict(zip(FEATURES, made.close(T0 + MINUTE), strict=True))["vpin"]
    assert abs(last - case["vpin_last"]) < 1e-12


def test_a_recording_without_candles_ends_its_bars_by_the_clock() -> None:
    events = [book(1), trade(30), book(59), book(61), trade(100), Heartbeat(ts_event=T0 + 2 * MINUTE)]
    found = features_of(events, "1m", HOW, "X", closed_by="clock")
    assert found["ts"].tolist() == [T0 // 10**6, (T0 + MINUTE) // 10**6]
    assert found["imbalance"].isna().tolist() == [False, True], "61 s is older than 10 s at 120 s"
    assert found["trades"].tolist()[1] == 1.0
    assert features_of([book(1)], "1m", HOW, "Y", closed_by="clock").empty
