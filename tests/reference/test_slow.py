"""The reference itself, held to numbers worked by hand, to TA-Lib and to the golden VPIN cases."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from . import slow

NAN = math.nan


def exactly(expected: list[float], rel: float = 1e-14) -> object:
    return pytest.approx(expected, rel=rel, abs=1e-15, nan_ok=True)


@pytest.fixture(scope="module")
def golden(data_dir: Path) -> dict[str, object]:
    return json.loads((data_dir / "expected/vpin_cases.json").read_text())


@pytest.fixture(scope="module")
def walk() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    return 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.003, 300))), rng.lognormal(0.0, 1.0, 300)


def test_an_ema_starts_at_the_mean_of_its_first_period():
    # k = 2/4 = 0.5: (1+2+3)/3 = 2, (4+2)/2 = 3, (10+3)/2 = 6.5
    assert slow.ema([1, 2, 3, 4, 10], 3).tolist() == exactly([NAN, NAN, 2.0, 3.0, 6.5])
    # k = 2/5 = 0.4: (1+2+3+6)/4 = 3, 8 * 0.4 + 3 * 0.6 = 5
    assert slow.ema([1, 2, 3, 6, 8], 4).tolist() == exactly([NAN, NAN, NAN, 3.0, 5.0])
    assert slow.ema([4, 7, 1], 1).tolist() == [4.0, 7.0, 1.0]
    assert np.isnan(slow.ema([1, 2], 3)).all()


def test_momentum_is_the_z_score_of_the_spread_over_its_window():
    # fast 1 is the close itself; slow 3 has k = 0.5: mean(4,4,4) = 4, (8+4)/2 = 6, (2+6)/2 = 4
    # spreads 0, (8-6)/6 = 1/3, (2-4)/4 = -1/2: mean -1/18; off the mean by 1/18, 7/18, -8/18
    # population variance (1 + 49 + 64)/324/3 = 19/162; z = -(4/9) / (sqrt(19/162) + 1e-8)
    # volume ratio 1 / (mean(1, 3) + 1e-8) = 1/2.00000001; warm-up 3 - 1 + 3 = 5: first value at index 4
    direction, confidence, z, ratio = slow.ema_momentum([4, 4, 4, 8, 2], [9, 9, 9, 3, 1], 1, 3, 3, 2, 3.0)
    expected_z = -(4 / 9) / (math.sqrt(19 / 162) + 1e-8)
    assert z.tolist() == exactly([NAN] * 4 + [expected_z])
    assert expected_z == pytest.approx(-1.29777, abs=1e-5)
    assert ratio.tolist() == exactly([NAN] * 4 + [1 / 2.00000001])
    assert direction.tolist() == exactly([NAN] * 4 + [expected_z / 3])
    assert confidence.tolist() == exactly([NAN] * 4 + [-expected_z / 3 / 2.00000001 / 2])


def test_momentum_saturates_at_full_scale_and_at_twice_the_mean_volume():
    # |z| = 1.298 over a scale of 1 clips to 1; volume 16 over mean(1, 1, 16) = 6 is 2.67, counted as 2
    direction, confidence, _, ratio = slow.ema_momentum([4, 4, 4, 8, 2], [9, 9, 1, 1, 16], 1, 3, 3, 3, 1.0)
    assert (direction[4], confidence[4]) == (-1.0, 1.0)
    assert ratio[4] == pytest.approx(16 / (6 + 1e-8), rel=1e-14)


def test_the_small_constant_decides_when_price_or_volume_stands_still():
    # a flat price has spread 0 and deviation 0: z = 0 / 1e-8 = 0; dust of 1e-8 over mean 1e-8: 1e-8 / 2e-8 = 1/2
    direction, confidence, z, ratio = slow.ema_momentum([8.0] * 6, [1e-8] * 6, 1, 3, 3, 2, 3.0)
    assert [a[5] for a in (direction, confidence, z)] == [0.0, 0.0, 0.0]
    assert ratio[5] == pytest.approx(0.5, rel=1e-14)
    # no volume at all: 0 / 1e-8 = 0, so nothing is believed
    assert slow.ema_momentum([4, 4, 4, 8, 2], [0.0] * 5, 1, 3, 3, 2, 3.0)[1][4] == 0.0


def test_momentum_is_not_ready_on_exactly_its_warmup_less_one(walk: tuple[np.ndarray, np.ndarray]):
    for column in slow.ema_momentum(*walk):
        assert np.isnan(column[:69]).all()
        assert np.isfinite(column[69:]).all()
    assert slow.ema_momentum_warmup() == 70
    assert slow.ema_momentum_warmup(3, 3, 20) == 20


def test_momentum_agrees_with_the_formula_as_printed_on_each_prefix(walk: tuple[np.ndarray, np.ndarray]):
    closes, volumes = walk
    direction, confidence, z, ratio = slow.ema_momentum(closes, volumes)
    for n in (70, 71, 150, 300):
        fast = pd.Series(np.r_[[np.nan] * 8, closes[:9].mean(), closes[9:n]]).ewm(span=9, adjust=False).mean()
        slower = pd.Series(np.r_[[np.nan] * 20, closes[:21].mean(), closes[21:n]]).ewm(span=21, adjust=False).mean()
        last = ((fast - slower) / slower).to_numpy()[-50:]
        printed_z = (last[-1] - last.mean()) / (last.std() + 1e-8)
        printed_ratio = volumes[n - 1] / (volumes[n - 20 : n].mean() + 1e-8)
        assert z[n - 1] == pytest.approx(printed_z, rel=1e-9)
        assert ratio[n - 1] == pytest.approx(printed_ratio, rel=1e-12)
        assert direction[n - 1] == pytest.approx(np.clip(printed_z / 3, -1, 1), rel=1e-9)
        printed_confidence = min(abs(printed_z) / 3, 1) * min(printed_ratio, 2) / 2
        assert confidence[n - 1] == pytest.approx(printed_confidence, rel=1e-9)


def test_rsi_reversion_leans_against_the_extreme_in_proportion():
    # moves 2, -1, 3, -1, -3, 0, 0, 1, -1 over a period of 2; warm-up 4: first value at index 3
    closes = [10, 12, 11, 14, 13, 10, 10, 10, 11, 10]
    # 3: (-1, 3) gain 1.5 loss 0.5 rs 3 rsi 75: (75-70)/30 = 1/6 sell   4: (3, -1) the same   5: (-1, -3) rsi 0 buy 1
    # 6: (-3, 0) rsi 0   7: (0, 0) flat: no opinion   8: (0, 1) no loss: rsi 100, full sell   9: (1, -1) rsi 50: neutral
    direction, confidence, index = slow.rsi_reversion(closes, 2)
    assert index.tolist() == exactly([NAN] * 3 + [75.0, 75.0, 0.0, 0.0, 50.0, 100.0, 50.0])
    assert direction.tolist() == exactly([NAN] * 3 + [-1 / 6, -1 / 6, 1.0, 1.0, 0.0, -1.0, 0.0], rel=1e-13)
    assert confidence.tolist() == exactly([NAN] * 3 + [1 / 6, 1 / 6, 1.0, 1.0, 0.0, 1.0, 0.0], rel=1e-13)


def test_rsi_reversion_is_capped_when_the_thresholds_leave_more_than_the_span():
    # rsi 100 over 60 is 40/30, rsi 0 under 40 is 40/30: both count as 1
    assert slow.rsi_reversion([1, 2, 3, 4], 2, 60, 40)[0][3] == -1.0
    assert slow.rsi_reversion([4, 3, 2, 1], 2, 60, 40)[0][3] == 1.0
    assert slow.rsi_reversion([4, 3, 2, 1], 2, 60, 40)[1][3] == 1.0


def test_rsi_on_a_threshold_has_no_opinion():
    # moves -1, 3: rsi 75; moves 1, -3: rsi 25
    assert [a[3] for a in slow.rsi_reversion([10, 12, 11, 14], 2, 75, 30)[:2]] == [0.0, 0.0]
    assert [a[3] for a in slow.rsi_reversion([10, 8, 9, 6], 2, 70, 25)[:2]] == [0.0, 0.0]


@pytest.mark.parametrize("signal", [slow.rsi_reversion, slow.rsi_wilder])
def test_a_flat_price_is_ready_and_silent(signal: Callable[..., tuple[np.ndarray, ...]]):
    # even where 50 would lie outside the thresholds
    for thresholds in ((70, 30), (40, 20), (80, 60)):
        direction, confidence, _ = signal([5.0] * 20, 14, *thresholds)
        for column in (direction, confidence):
            assert np.isnan(column[:15]).all()
            assert (column[15:] == 0.0).all()


def test_wilder_remembers_what_simple_means_forget():
    # moves 2, -1, 3, -1, period 2: seed gain (2+0)/2 = 1, loss (0+1)/2 = 0.5
    # 3: gain (1+3)/2 = 2, loss (0.5+0)/2 = 0.25, rs 8, rsi 100 - 100/9 = 800/9; (800/9 - 70)/30 = 17/27 sell
    # 4: gain (2+0)/2 = 1, loss (0.25+1)/2 = 0.625, rs 1.6, rsi 100 - 100/2.6: neutral
    closes = [10, 12, 11, 14, 13]
    direction, confidence, index = slow.rsi_wilder(closes, 2)
    assert index.tolist() == exactly([NAN] * 3 + [800 / 9, 100 - 100 / 2.6])
    assert direction.tolist() == exactly([NAN] * 3 + [-17 / 27, 0.0], rel=1e-13)
    assert confidence.tolist() == exactly([NAN] * 3 + [17 / 27, 0.0], rel=1e-13)
    # one bar earlier the index exists already: rs 2, rsi 200/3
    assert slow.rsi(closes, 2, "wilder")[2] == pytest.approx(200 / 3, rel=1e-14)


def test_vpin_splits_what_crosses_an_edge_and_leaves_out_the_open_bucket():
    # buckets of 10, window 2. 6 bought + 4 sold: |2|. Then 15 + 5: two buckets of 7.5 and 2.5, |5| each: (5+5)/20.
    # 3 sold stay open; 9 sold complete them with 7, |10|: (5+10)/20, 2 open. Nothing traded: unchanged.
    buy, sell = [6, 0, 15, 0, 0, 0], [0, 4, 5, 3, 9, 0]
    assert slow.vpin(buy, sell, 10, 2).tolist() == exactly([NAN, NAN, 0.5, 0.5, 0.75, 0.75])
    # 3 bought, then 8 and 8: the first bucket takes 7 of 16, 3.5 a side: 6.5 and 3.5, |3|/10
    assert slow.vpin([3, 8], [0, 8], 10, 1).tolist() == exactly([NAN, 0.3])
    assert slow.volume_buckets([3, 8], [0, 8], 10) == [(1, 6.5, 3.5)]


def test_ten_tenths_fill_a_bucket_of_one():
    # in floats ten times 0.1 is 0.9999999999999999 and the bucket would wait for the next item
    assert slow.vpin([0.1] * 10, [0.0] * 10, 1.0, 1).tolist() == exactly([NAN] * 9 + [1.0])


def test_buckets_keep_every_lot(walk: tuple[np.ndarray, np.ndarray]):
    _, volumes = walk
    buy, sell = np.round(volumes[:150], 3), np.round(volumes[150:], 3)
    buckets = slow.volume_buckets(buy, sell, 2.5)
    assert all(b + s == slow.Fraction("2.5") and b >= 0 and s >= 0 for _, b, s in buckets)
    traded = sum(slow.Fraction(repr(float(q))) for q in [*buy, *sell])
    assert 0 <= traded - len(buckets) * slow.Fraction("2.5") < slow.Fraction("2.5")


def test_tick_imbalance_is_net_over_gross_of_its_window():
    # pairs (3,1) (1,3): 0/8. (1,3) (6,2): 2/12 = 1/6, over 0.5 is 1/3. (6,2) (0,0): 4/8, full scale. Then no volume: 0
    buy, sell = [3, 1, 6, 0, 0], [1, 3, 2, 0, 0]
    direction, confidence, imbalance = slow.tick_imbalance(buy, sell, 2, 0.5, 0.1)
    assert imbalance.tolist() == exactly([NAN, 0.0, 1 / 6, 0.5, 0.0])
    assert direction.tolist() == exactly([NAN, 0.0, 1 / 3, 1.0, 0.0])
    assert confidence.tolist() == exactly([NAN, 0.0, 1 / 3, 1.0, 0.0])


def test_tick_imbalance_is_silent_below_its_threshold_and_clipped_above_its_scale():
    buy, sell = [1, 2, 3], [3, 6, 1]
    # one item each: -1/2, -1/2, 1/2; scale 0.25 clips; a threshold met exactly is heard
    assert slow.tick_imbalance(buy, sell, 1, 0.25, 0.5)[0].tolist() == [-1.0, -1.0, 1.0]
    assert slow.tick_imbalance(buy, sell, 1, 0.25, 0.5)[1].tolist() == [1.0, 1.0, 1.0]
    direction, confidence, imbalance = slow.tick_imbalance(buy, sell, 1, 0.25, 0.51)
    assert direction.tolist() == confidence.tolist() == [0.0, 0.0, 0.0]
    assert imbalance.tolist() == [-0.5, -0.5, 0.5]


def test_conviction_averages_what_is_confident_enough():
    weights = [1.0, 0.7]
    # (0.8*0.5*1 - 0.5*0.4*0.7) / 1.7 = 0.26/1.7
    assert slow.combine_at([0.8, -0.5], [0.5, 0.4], weights) == pytest.approx(0.26 / 1.7, rel=1e-14)
    # the second drops out with its weight: 0.8 * 0.5; 0.3 itself is confident enough: (0.4 - 0.5*0.3*0.7)/1.7
    assert slow.combine_at([0.8, -0.5], [0.5, 0.29], weights) == pytest.approx(0.4, rel=1e-14)
    assert slow.combine_at([0.8, -0.5], [0.5, 0.3], weights) == pytest.approx(0.295 / 1.7, rel=1e-14)
    assert slow.combine_at([0.8, -0.5], [0.1, 0.2], weights) == 0.0


def test_conviction_waits_for_every_signal():
    directions = [[NAN, 0.5, 0.5, 1.0], [1.0, NAN, 0.0, 1.0]]
    confidences = [[NAN, 0.5, 0.5, 1.0], [1.0, NAN, 0.0, 1.0]]
    # a signal that is ready and silent (0, 0) does not dilute: 0.5 * 0.5
    assert slow.combine(directions, confidences, [1.0, 0.7]).tolist() == exactly([NAN, NAN, 0.25, 1.0])
    assert math.isnan(slow.combine_at([0.5, 0.5], [0.5, NAN], [1.0, 0.7]))


def test_an_order_is_sized_and_styled_by_its_conviction():
    assert [slow.has_intent(c) for c in (0.15, -0.15, 0.1499, 0.0, NAN)] == [True, True, False, False, False]
    assert not slow.has_intent(0.0, min_conviction=0.0)
    assert [slow.side(c) for c in (0.2, -0.2)] == ["buy", "sell"]
    # 12,345.67 * 0.1 * 0.5
    assert slow.size_usd_unrounded(12_345.67, 0.1, -0.5) == pytest.approx(617.2835, rel=1e-14)
    assert [slow.order_type(c) for c in (0.69, -0.69, 0.7, -0.7)] == ["limit", "limit", "market", "market"]
    assert [slow.urgency(c) for c in (0.8, -0.8, 0.81, -0.81)] == ["normal", "normal", "high", "high"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: slow.ema([1.0], 0), r"^period \(0\) must be at least 1$"),
        (lambda: slow.ema_momentum([1.0], [1.0], 21, 21), r"^fast \(21\) must be shorter than slow \(21\)$"),
        (lambda: slow.ema_momentum([1.0], [], 9, 21), r"^closes \(1 values\) must be as long as volumes \(0 values\)$"),
        (lambda: slow.rsi([1.0], 14, "sma"), r"^averaging \('sma'\) must be 'simple' or 'wilder'$"),
        (lambda: slow.vpin([1.0], [-1.0], 10, 1), r"^sell \(-1.0\) at item 0 must be finite and at least 0$"),
        (lambda: slow.vpin([NAN], [1.0], 10, 1), r"^buy \(nan\) at item 0 must be finite and at least 0$"),
        (lambda: slow.vpin([1.0], [1.0], 0.0, 1), r"^bucket_volume \(0.0\) must be finite and above 0$"),
        (lambda: slow.combine([1.0], [1.0], [1.0]), r"^directions \(1,\) and confidences \(1,\) must both be"),
    ],
)
def test_an_impossible_question_is_refused(call: Callable[[], object], message: str):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.real_data
def test_ema_and_wilder_rsi_equal_talib(data_dir: Path):
    talib = pd.read_parquet(data_dir / "expected/talib_reference_BTCUSDT_1h.parquet")
    candles = pd.read_parquet(data_dir / "demo/candles/binance_spot_BTCUSDT_1h_20240101.parquet").iloc[: len(talib)]
    closes = candles["close"].to_numpy()
    for column, ours in (("EMA_20", slow.ema(closes, 20)), ("RSI_14", slow.rsi(closes, 14, "wilder"))):
        np.testing.assert_allclose(ours, talib[column].to_numpy(), rtol=1e-9, atol=0.0, equal_nan=True)


@pytest.mark.real_data
def test_vpin_hand_cases(golden: dict[str, list[dict[str, object]]]):
    cases = {case["id"]: case for case in golden["hand_cases"]}
    assert set(cases) == {"balanced", "one_sided", "finmlkit_test_arrays"}
    for case in cases.values():
        ours = slow.vpin_of_buckets(case["buy"], case["sell"], case["window"])
        assert np.isnan(ours[:3]).all()
        np.testing.assert_allclose(ours[3:], case["expected_from_index_3"], rtol=0.0, atol=1e-12)


@pytest.mark.real_data
@pytest.mark.parametrize(
    # each item fills one bucket exactly; the third case trades 300 an item up to index 4, then 900
    ("case_id", "first", "last", "bucket_volume"),
    [
        ("balanced", 0, 9, 200.0),
        ("one_sided", 0, 9, 100.0),
        ("finmlkit_test_arrays", 0, 4, 300.0),
        ("finmlkit_test_arrays", 5, 9, 900.0),
    ],
)
def test_vpin_walked_equals_the_hand_cases(
    golden: dict[str, list[dict[str, object]]], case_id: str, first: int, last: int, bucket_volume: float
):
    case = next(c for c in golden["hand_cases"] if c["id"] == case_id)
    ours = slow.vpin(case["buy"][first : last + 1], case["sell"][first : last + 1], bucket_volume, case["window"])
    # `expected_from_index_3[j]` belongs to item j + 3
    expected = case["expected_from_index_3"][first : last - 2]
    assert len(expected) == len(ours) - 3
    assert np.isnan(ours[:3]).all()
    np.testing.assert_allclose(ours[3:], expected, rtol=0.0, atol=1e-12)


@pytest.mark.real_data
def test_vpin_of_the_recorded_tape(data_dir: Path, golden: dict[str, dict[str, object]]):
    case = golden["tape_case"]
    tape = pd.read_parquet(data_dir / case["tape"]).query(case["filter"])
    buy = tape["qty"].where(~tape["is_buyer_maker"], 0.0).to_numpy()
    sell = tape["qty"].where(tape["is_buyer_maker"], 0.0).to_numpy()
    buckets = slow.volume_buckets(buy, sell, case["bucket_volume"])
    assert len(buckets) == case["n_buckets"]
    first = [float(bought) for _, bought, _ in buckets[:5]]
    np.testing.assert_allclose(first, case["bucket_buy_volume_first5"], rtol=0.0, atol=1e-12)
    bought, sold = ([float(b) for b in sides] for sides in list(zip(*buckets, strict=True))[1:])
    per_bucket = slow.vpin_of_buckets(bought, sold, case["window"])[case["window"] - 1 :]
    found = [per_bucket[0], per_bucket[-1], per_bucket.mean(), per_bucket.max()]
    expected = [case[f"vpin_{name}"] for name in ("first", "last", "mean", "max")]
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-12)
    # after an item stands the value of the last bucket it completed: two trades of this tape fill more than one
    per_item = slow.vpin(buy, sell, case["bucket_volume"], case["window"])
    last_bucket_of = {item: number for number, (item, _, _) in enumerate(buckets)}
    assert len(last_bucket_of) < len(buckets)
    value = NAN
    for i, found_value in enumerate(per_item):
        number = last_bucket_of.get(i, -1) - (case["window"] - 1)
        value = per_bucket[number] if number >= 0 else value
        assert found_value == pytest.approx(value, rel=0.0, abs=1e-12, nan_ok=True)
