"""A synthetic market is reproducible, sound, on its grid, and shows what its kind is meant to expose."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flea_lab.data.frames import check_candles, check_funding, content_digest
from flea_lab.data.quality import quality
from flea_lab.data.synthetic import KINDS, START_MS, synth, synth_funding
from flea_lab.errors import ConfigError, DataError
from flea_lab.model.instrument import Instrument

N = 20_000


def market(kind: str, seed: int = 1, n_bars: int = N) -> pd.DataFrame:
    return synth(kind, np.random.default_rng(seed), n_bars)


def imbalance(frame: pd.DataFrame, bars: int = 50) -> "pd.Series[float]":
    """Mean one-sidedness of the last `bars` bars, weighted by volume: VPIN with a bar as its bucket."""
    one_sided = (2 * frame["buy_volume"] - frame["volume"]).abs()
    return one_sided.rolling(bars).sum() / frame["volume"].rolling(bars).sum()


def momentum_pays(frame: pd.DataFrame, bars: int) -> float:
    """Correlation of each `bars`-bar return with the one before."""
    return float(np.log(frame["close"].iloc[::bars]).diff().autocorr(1))


@pytest.mark.parametrize("kind", KINDS)
def test_equal_seeds_make_equal_markets_and_others_do_not(kind: str) -> None:
    assert content_digest(market(kind, 1, 3_000)) == content_digest(market(kind, 1, 3_000))
    assert content_digest(market(kind, 1, 3_000)) != content_digest(market(kind, 2, 3_000))


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(list(KINDS)),
    seed=st.integers(0, 2**32),
    n_bars=st.integers(1, 400),
    interval=st.sampled_from(["1m", "5m", "1h", "1d"]),
    tick=st.sampled_from(["0.1", "0.01", "0.0001", "0.5", "0.25"]),
    lot=st.sampled_from(["0.001", "0.1", "1.0"]),
)
def test_every_market_is_sound_and_on_its_grid(
    kind: str, seed: int, n_bars: int, interval: str, tick: str, lot: str
) -> None:
    rng = np.random.default_rng(seed)
    frame = synth(kind, rng, n_bars, interval=interval, price=123.4, tick=float(tick), lot=float(lot))
    check_candles(frame, interval, kind)
    grid = Instrument(tick_size=Decimal(tick), lot_size=Decimal(lot))
    for name in ("open", "high", "low", "close"):
        assert [grid.price(grid.ticks(price)) for price in frame[name]] == list(frame[name])
    for name in ("volume", "buy_volume"):
        assert [grid.qty(round(qty / float(lot))) for qty in frame[name]] == list(frame[name])
    assert (frame["volume"] > 0).all()
    assert len(frame) == n_bars or kind == "gap"


def test_only_the_gap_market_has_holes() -> None:
    for kind in KINDS:
        found = quality(market(kind), "1m")
        assert found.expected == N
        assert (found.missing > 0) == (kind == "gap"), kind


def test_a_trend_persists_and_chop_reverts() -> None:
    for seed in range(5):
        assert momentum_pays(market("trend", seed), 30) > 0.1
        assert momentum_pays(market("chop", seed), 30) < -0.2


def test_jumps_are_sudden() -> None:
    jumps = np.log(market("jump")["close"]).diff().abs()
    plain = np.log(market("chop")["close"]).diff().abs()
    assert (jumps > 0.009).sum() >= 10
    assert plain.max() < 0.009


def test_toxic_bursts_are_one_sided_and_drive_the_price() -> None:
    frame = market("toxic")
    share = imbalance(frame)
    assert share.max() > 0.9 and 0.05 < (share > 0.75).mean() < 0.4
    burst = share > 0.75
    moved = np.log(frame["close"]).diff(50)
    net = (2 * frame["buy_volume"] - frame["volume"]).rolling(50).sum()
    assert (np.sign(moved[burst]) == np.sign(net[burst])).mean() > 0.9
    assert imbalance(market("trend")).max() < 0.5 and imbalance(market("chop")).max() < 0.5


def test_the_mixed_market_holds_quiet_and_toxic_stretches() -> None:
    share = imbalance(market("mixed", 7, 43_200))
    assert share.max() > 0.75 and share.median() < 0.4


def test_a_day_has_the_volatility_and_volume_asked_for() -> None:
    frame = synth("gap", np.random.default_rng(5), 43_200, volatility=0.03, volume=5_000.0)
    deviation = np.log(frame["close"]).diff().std() * np.sqrt(1_440)
    assert deviation == pytest.approx(0.03, rel=0.15)
    assert frame["volume"].mean() * 1_440 == pytest.approx(5_000.0, rel=0.15)


def test_an_open_need_not_be_the_last_close() -> None:
    frame = market("chop")
    assert 0.5 < (frame["open"] != frame["close"].shift()).mean() < 1.0


def test_the_start_is_moved_down_to_the_grid() -> None:
    assert synth("chop", np.random.default_rng(1), 2, interval="1h", start_ms=START_MS + 5)["ts"].iloc[0] == START_MS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"kind": "boom"},
            "kind 'boom' of a synthetic market is unknown, known are trend, chop, jump, gap, toxic, mixed",
        ),
        ({"n_bars": 0}, r"n_bars = 0: expected `int` >= 1 \(in synthetic market\)"),
        ({"price": -1.0}, r"price = -1.0: expected `float` > 0.0"),
        ({"volatility": 0.9}, r"volatility = 0.9: expected `float` <= 0.5"),
        ({"tick": 0.0}, r"tick = 0.0: expected `float` > 0.0"),
    ],
)
def test_settings_out_of_range_are_named(changes: dict[str, object], message: str) -> None:
    values = {"kind": "chop", "rng": np.random.default_rng(1), "n_bars": 5} | changes
    with pytest.raises(ConfigError, match=message):
        synth(**values)  # type: ignore[arg-type]


def test_an_unknown_interval_is_named() -> None:
    with pytest.raises(DataError, match="synthetic market: unknown interval '2m'"):
        synth("chop", np.random.default_rng(1), 5, interval="2m")


@pytest.mark.parametrize("hours", [1, 4, 8])
def test_funding_settles_on_its_hours_within_bounds(hours: int) -> None:
    end = START_MS + 30 * 86_400_000
    frame = synth_funding(np.random.default_rng(1), START_MS + 1, end, hours)
    check_funding(frame, "funding")
    assert (frame["ts"] % (hours * 3_600_000) == 0).all()
    assert frame["ts"].iloc[0] == START_MS + hours * 3_600_000 and frame["ts"].iloc[-1] < end
    assert frame["funding_rate"].abs().max() <= 3e-3
    assert frame["funding_rate"].mean() == pytest.approx(1e-4 * hours / 8, rel=0.5)
    assert synth_funding(np.random.default_rng(1), START_MS + 1, START_MS + 2, hours).empty


def test_funding_hours_must_divide_a_day() -> None:
    with pytest.raises(ConfigError, match=r"interval_h \(5\) must divide a day of 24 hours"):
        synth_funding(np.random.default_rng(1), 0, 1, 5)
