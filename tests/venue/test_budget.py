"""How much may be asked of a venue: never more than its share in any window, and cancels always last."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flea_lab.clock import WallClock
from flea_lab.errors import ConfigError
from flea_lab.secret import Secret
from flea_lab.settings import load_settings
from flea_lab.venue.budget import DAY_S, MINUTE_S, RateBudget, RateLimits, Use, Window
from flea_lab.venue.dialects import load_dialect
from flea_lab.venue.hyperliquid_exchange import HyperliquidExchange
from flea_lab.venue.published_exchange import PublishedExchange


def budget(**limits: object) -> RateBudget:
    return RateBudget(load_settings(limits, RateLimits, "a test"))


ASKED = st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(1, 3), st.sampled_from(["read", "order", "cancel"])))


@given(ASKED)
def test_no_window_of_a_second_or_a_minute_holds_more_than_its_share(asked: list[tuple[float, int, Use]]) -> None:
    one, now, sent = budget(per_second=10, per_minute=40), 0.0, list[tuple[float, int]]()
    for pause, weight, use in asked:
        now += pause
        while (wait := one.wait_s(now, use, weight)) > 0.0:
            now += wait
        one.spend(now, weight)
        sent.append((now, weight))
    for at, _ in sent:
        assert sum(w for t, w in sent if at - 1.0 < t <= at) <= 7
        assert sum(w for t, w in sent if at - MINUTE_S < t <= at) <= 28


def test_what_is_left_is_for_cancels_when_nothing_else_may_go() -> None:
    one, went = budget(per_minute=30), 0
    while one.wait_s(0.0, "order") == 0.0:
        one.spend(0.0)
        went += 1
    assert went == 16 and one.wait_s(0.0, "read") > 0.0, "21 may be used, 5 of them by cancels only"
    for _ in range(5):
        assert one.wait_s(0.0, "cancel") == 0.0
        one.spend(0.0)
    assert MINUTE_S <= one.wait_s(0.0, "cancel") <= MINUTE_S + 1.0


def test_a_day_is_a_limit_too_and_a_venue_without_limits_has_none() -> None:
    one = budget(per_day=10, cancel_reserve=0.0)
    for _ in range(7):
        one.spend(0.0)
    assert DAY_S <= one.wait_s(0.0, "order") <= DAY_S * 61 / 60
    free = budget()
    for _ in range(1_000):
        free.spend(0.0)
    assert free.wait_s(0.0, "order") == 0.0


def test_a_429_stops_for_as_long_as_the_venue_says_and_cancels_go_on_unless_one_was_refused() -> None:
    one = budget()
    assert one.stopped(100.0, "order", 14.0, 0.0) == 14.0
    assert (one.wait_s(100.0, "order"), one.wait_s(100.0, "read"), one.wait_s(100.0, "cancel")) == (14.0, 14.0, 0.0)
    assert one.wait_s(114.0, "order") == 0.0
    one.stopped(200.0, "cancel", 5.0, 0.0)
    assert one.wait_s(200.0, "cancel") == 5.0


def test_a_429_without_a_time_backs_off_longer_each_time_until_the_venue_answers() -> None:
    one = budget(back_off_first_s=1.0, back_off_last_s=8.0)
    waits = [one.stopped(0.0, "read", None, 0.999) for _ in range(5)]
    assert waits == pytest.approx([1.999, 2.998, 4.996, 8.992, 8.992])
    one.answered()
    assert one.stopped(0.0, "read", None, 0.0) == 1.0


def test_a_window_forgets_late_and_never_early() -> None:
    one = Window(60.0, 10)
    one.spend(0.5, 10)
    assert one.wait_s(60.4, 1) > 0.0 and one.wait_s(61.0, 1) == 0.0
    for second in range(10_000):
        one.spend(float(second), 1)
    assert len(one._spent) <= 10_000 and one.wait_s(20_000.0, 10) == 0.0 and not one._spent


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (dict(share=0.0), r"share = 0\.0: expected `float` > 0\.0"),
        (dict(per_minute=-1), r"per_minute = -1: expected `int` >= 0"),
        (dict(cancel_reserve=1.5), r"cancel_reserve = 1\.5: expected `float` <= 1\.0"),
        (dict(per_second=2, cancel_reserve=0.9), r"per_second \(2\) leaves nothing to ask with at share 0\.7"),
        (dict(back_off_first_s=9.0, back_off_last_s=3.0), r"back_off_first_s \(9\.0\) must be at most back_off_last_s"),
    ],
)
def test_limits_that_cannot_be_are_refused(limits: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        budget(**limits)


def test_a_venues_own_limit_holds_where_the_dialect_names_none() -> None:
    clock = WallClock()
    plain = load_dialect({"name": "hyperliquid"}, "a test")
    exchange = HyperliquidExchange(plain, "0x" + "1" * 40, lambda *_: {}, {}, clock)
    for _ in range(336):  # 70 % of the half of 1,200 that questions leave, less a fifth of that for cancels
        assert exchange._rest.budget.wait_s(0.0, "order") == 0.0
        exchange._rest.budget.spend(0.0)
    assert exchange._rest.budget.wait_s(0.0, "order") > 0.0 and exchange._rest.budget.wait_s(0.0, "cancel") == 0.0
    named = load_dialect({"name": "hyperliquid", "limits": {"per_minute": 10}}, "a test")
    assert HyperliquidExchange(named, "0x" + "1" * 40, lambda *_: {}, {}, clock)._rest.budget._windows[0].most == 7


@pytest.mark.parametrize(("limits", "most"), [({}, 21), ({"per_minute": 100}, 70)])
def test_openings_and_closes_at_the_published_server_have_thirty_a_minute_each(
    limits: dict[str, int], most: int
) -> None:
    spoken = load_dialect({"name": "purpleflea", "limits": limits}, "a test")
    exchange = PublishedExchange(spoken, Secret("k"), {}, WallClock())
    for lane in exchange._budgets.values():
        assert [window.most for window in lane._windows] == [most]
