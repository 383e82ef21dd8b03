"""A conviction into dollars."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flea_lab.strategy.combine import combine
from flea_lab.strategy.sizing import INCREMENT, TARGET, intent_uusd, order_type, urgency
from tests.reference import slow

USD = 1_000_000
CENT = 10_000
NAN = math.nan


def intent(
    conviction: float, *, mode: int = INCREMENT, equity: int = 100_000, position: float = 0, band: float = 0.0
) -> float:
    """Signed dollars wanted at base fraction 0.1 and minimum conviction 0.15."""
    return intent_uusd(mode, equity * USD, 0.1, band, conviction, 0.15, round(position * USD)) / USD


@pytest.mark.parametrize(
    ("conviction", "dollars"),
    [
        (1.0, 10_000),
        (-1.0, -10_000),
        (0.15, 1_500),
        (0.1499999, 0),
        (-0.15, -1_500),
        (0.0, 0),
        (NAN, 0),
        (0.333333, 3333.33),
    ],
)
def test_an_increment_is_a_share_of_equity_whatever_is_held(conviction: float, dollars: float) -> None:
    assert intent(conviction) == dollars
    assert intent(conviction, position=7_000) == dollars


@pytest.mark.parametrize(
    ("conviction", "position", "band", "dollars"),
    [
        (0.5, 0, 0.0, 5_000),
        (0.5, 5_000, 0.0, 0),
        (0.5, 6_000, 0.0, -1_000),
        (-0.5, 5_000, 0.0, -10_000),
        (0.1, 5_000, 0.0, 0),  # silence holds
        (NAN, 5_000, 0.0, 0),
        (0.5, 4_000, 0.1, 1_000),  # the band is 1000: reached
        (0.5, 4_000.01, 0.1, 0),
        (0.5, 4_999.999, 0.0, 0),  # less than a cent
        (0.5, 5_000.019999, 0.0, -0.01),  # whole cents, toward zero
    ],
)
def test_a_target_trades_the_difference(conviction: float, position: float, band: float, dollars: float) -> None:
    assert intent(conviction, mode=TARGET, position=position, band=band) == dollars


@given(st.floats(-1, 1), st.integers(-(10**15), 10**15), st.integers(1, 10**15), st.floats(0, 1))
def test_a_target_never_moves_away_from_itself(conviction: float, position: int, equity: int, band: float) -> None:
    change = intent_uusd(TARGET, equity, 0.1, band, conviction, 0.15, position)
    assert change % CENT == 0 or -change % CENT == 0
    goal = intent_uusd(INCREMENT, equity, 0.1, band, conviction, 0.15, position)
    if change:
        assert abs(goal - position - change) < CENT
        assert (change > 0) == (goal > position)


@given(st.floats(-1, 1), st.floats(0, 1e7))
def test_the_size_is_the_printed_formula_to_the_cent(conviction: float, dollars: float) -> None:
    equity = round(dollars * USD)
    found = intent_uusd(INCREMENT, equity, 0.1, 0.0, conviction, 0.15, 0)
    if not slow.has_intent(conviction):
        assert found == 0
        return
    exact = slow.size_usd_unrounded(equity / USD, 0.1, conviction)
    assert abs(abs(found) / USD - exact) <= 0.005 + 1e-9 * exact
    assert found % CENT == 0
    assert found == 0 or (found > 0) == (slow.side(conviction) == "buy")


@given(
    st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 1), st.floats(0.01, 10), st.booleans()), min_size=1, max_size=5),
    st.floats(0, 1),
)
def test_a_conviction_is_the_slow_weighted_mean(alphas: list[tuple[float, float, float, bool]], minimum: float) -> None:
    d, c, w = (np.array(column) for column in list(zip(*alphas, strict=True))[:3])
    found = combine(np.column_stack([d, c]), w, minimum)
    assert found == pytest.approx(slow.combine_at(d, c, w, minimum), rel=1e-12, abs=1e-15)
    assert -1.0 - 1e-12 <= found <= 1.0 + 1e-12
    for k, (_, _, _, missing) in enumerate(alphas):
        if missing:
            for column in (0, 1):
                opinions = np.column_stack([d, c])
                opinions[k, column] = NAN
                assert math.isnan(combine(opinions, w, minimum))


@pytest.mark.parametrize(
    ("conviction", "kind", "eager"),
    [
        (0.69, "limit", "normal"),
        (0.7, "market", "normal"),
        (-0.7, "market", "normal"),
        (-0.69, "limit", "normal"),
        (0.8, "market", "normal"),
        (0.81, "market", "high"),
        (-0.81, "market", "high"),
    ],
)
def test_a_strong_conviction_pays_the_spread(conviction: float, kind: str, eager: str) -> None:
    assert (order_type(conviction, 0.7), urgency(conviction, 0.8)) == (kind, eager)
    assert (slow.order_type(conviction), slow.urgency(conviction)) == (kind, eager)
