"""Guards, fills, funding and holes on markets small enough to work by hand; the fold must say the same."""

from typing import Any

import numpy as np
import pytest

from flea_lab.model.trading import Alert, CancelOrder
from tests.backtest.tiny import DAY, MINUTE, Bar, both, codes, config, tiny

USD = 1_000_000


def flat(n: int, *, price: float = 100.0, say: dict[int, float] | None = None) -> list[Bar]:
    """`n` bars at one price; `say` by bar number."""
    return [(i, price, price, (say or {}).get(i, 0.0)) for i in range(n)]


def test_an_order_fills_at_the_next_open_with_slippage_and_fee_to_the_micro_dollar() -> None:
    run = config(costs=dict(fee_bps=5.0, slippage_bps=1.0))
    market = tiny(run, {"X": [(0, 100.0, 100.0, 0.25), (1, 101.0, 102.0, 0.0), (2, 103.0, 104.0, 0.0)]})
    seen, core, folded = both(run, market)
    # 10,000 x 1.0 x 0.25 = 2,500 USD at the close of 100.00: 25.000 units; open 101.00 + 1 bp = 101.0101, up to 101.02
    (fill,) = seen.fills
    assert (fill.lots, fill.price_ticks, fill.reference_ticks) == (25_000, 10_102, 10_100)
    assert fill.fee_uusd == 1_262_750  # 2,525.50 USD at 5 bp
    assert fill.ts_event == market.open_ms[1] * 1_000_000
    cash = 10_000 * USD - 2_525_500_000 - 1_262_750
    assert seen.cash.tolist() == [10_000 * USD, cash, cash]
    assert seen.equity.tolist() == [10_000 * USD, cash + 2_550_000_000, cash + 2_600_000_000]
    assert seen.gross.tolist() == [0, 2_550_000_000, 2_600_000_000]
    assert seen.decision_ticks == [10_000]
    assert folded.sink.equity.tolist() == seen.equity.tolist()
    assert folded.sink.cash.tolist() == seen.cash.tolist()
    assert folded.sink.lots.tolist() == seen.lots.tolist()
    assert core.account().lots == {"X": 25_000}


def test_a_sell_slips_down_and_the_money_comes_in() -> None:
    run = config(costs=dict(fee_bps=5.0, slippage_bps=1.0))
    seen, _, _ = both(run, tiny(run, {"X": [(0, 100.0, 100.0, -0.25), (1, 101.0, 102.0, 0.0)]}))
    (fill,) = seen.fills
    assert (fill.side, fill.lots, fill.price_ticks, fill.fee_uusd) == ("sell", 25_000, 10_098, 1_262_250)
    assert seen.equity[-1] == 10_000 * USD + 2_524_500_000 - 1_262_250 - 2_550_000_000


def test_funding_is_paid_on_the_position_held_before_the_open_fills_and_at_the_last_mark() -> None:
    run = config()
    bars = {"X": [(0, 100.0, 100.0, 0.5), (1, 100.0, 110.0, -1.0), (2, 120.0, 130.0, 0.0)]}
    # settled with the open of bar 1 (nothing held yet), of bar 2 (50 units at the mark 110), and inside bar 2 (never)
    settled = {"X": [(MINUTE, 0.01), (2 * MINUTE, 0.001), (2 * MINUTE + 1, 0.5)]}
    seen, core, folded = both(run, tiny(run, bars, settled))
    assert seen.funding == [(int(20_000 * DAY + DAY // 2 + 2 * MINUTE), "X", 0.001, 5_500_000)]
    assert core.ledger.book[0, 9] == 5_500_000
    assert seen.cash[1] == 5_000 * USD
    # equity 10,500; -1.0 of it sold at 110.00: 95.454 units at the open of 120.00
    assert seen.cash[2] == 5_000 * USD - 5_500_000 + 95_454 * 120 * 1_000
    assert folded.sink.cash.tolist() == seen.cash.tolist()


def test_a_short_receives_and_funding_can_be_left_out() -> None:
    bars = {"X": [(0, 100.0, 100.0, -0.5), (1, 100.0, 100.0, 0.0), (2, 100.0, 100.0, 0.0)]}
    settled = {"X": [(2 * MINUTE, 0.001)]}
    run = config()
    seen, _, _ = both(run, tiny(run, bars, settled))
    assert seen.equity[-1] == 10_005 * USD
    run = config(costs=dict(funding=False))
    seen, _, _ = both(run, tiny(run, bars, settled))
    assert seen.equity[-1] == 10_000 * USD


def test_a_settlement_in_a_hole_is_charged_before_the_next_open() -> None:
    run = config(("X", "Y"))
    bars = {"X": [(0, 100.0, 100.0, 0.5), (1, 100.0, 100.0, 0.0), (9, 200.0, 200.0, 0.0)], "Y": flat(3)}
    settled = {"X": [(4 * MINUTE, 0.001), (5 * MINUTE, 0.002)], "Y": [(2 * MINUTE, 0.1)]}
    seen, _, _ = both(run, tiny(run, bars, settled))
    assert [(rate, paid) for _, _, rate, paid in seen.funding] == [(0.001, 5_000_000), (0.002, 10_000_000)]


def test_a_pending_order_waits_for_its_own_symbols_next_open() -> None:
    run = config(("X", "Y"))
    bars = {"X": [(0, 100.0, 100.0, 0.5), (3, 107.0, 107.0, 0.0)], "Y": flat(4)}
    seen, core, folded = both(run, tiny(run, bars))
    (fill,) = seen.fills
    assert (fill.price_ticks, fill.ts_event) == (10_700, (20_000 * DAY + DAY // 2 + 3 * MINUTE) * 1_000_000)
    assert seen.lots.tolist() == [[0, 0, 0, 50_000], [0, 0, 0, 0]] == folded.sink.lots.tolist()
    assert core.router.blotter.open_orders() == ()


def test_read_literally_a_share_of_exposure_refuses_every_first_order() -> None:
    bars = {"X": flat(3, say={1: 0.3}), "Y": flat(3, say={1: 0.3})}
    for limit, code in ((0.99, "concentration"), (1.0, "passed")):
        run = config(("X", "Y"), risk=dict(concentration_of="exposure", max_concentration=limit))
        seen, _, _ = both(run, tiny(run, bars))
        assert codes(seen) == [code, code]
        assert seen.decisions["symbol"].tolist() == [0, 1], "in the config's order"


@pytest.mark.parametrize(
    ("risk", "say", "expected"),
    [
        (dict(max_concentration=0.25), {0: 0.25, 1: 0.01}, ["passed", "concentration"]),
        (dict(max_concentration=0.2499), {0: 0.25}, ["concentration"]),
        (dict(max_order_usd=2_500.0), {0: 0.25, 1: 0.2501}, ["passed", "order_size"]),
        (dict(max_concentration=0.25), {0: 0.25, 1: -0.25, 2: -0.25}, ["passed", "passed", "passed"]),
    ],
)
def test_concentration_and_order_size_trip(risk: dict[str, Any], say: dict[int, float], expected: list[str]) -> None:
    run = config(risk=risk)
    seen, _, _ = both(run, tiny(run, {"X": flat(4, say=say)}))
    assert codes(seen) == expected


def test_the_order_limit_counts_slippage_on_a_buy() -> None:
    run = config(risk=dict(max_order_usd=2_500.0), costs=dict(slippage_bps=1.0))
    seen, _, _ = both(run, tiny(run, {"X": flat(4, say={0: 0.25, 1: -0.25, 2: 0.2499})}))
    assert codes(seen) == ["order_size", "passed", "passed"]


def test_vpin_trips_lets_out_what_reduces_and_refuses_before_it_is_known() -> None:
    vpin = dict(source="bars", limit=0.75, window=2, bucket_volume={"X": 1.0})
    run = config(risk=dict(vpin=vpin))
    # |buys - sells| of a bar is the root of its conviction: 0.1 -> 0.316, 1.0 -> 1.0
    say = {0: 0.1, 1: 0.1, 2: 1.0, 3: 1.0, 4: -0.16, 5: 0.16}
    seen, _, _ = both(run, tiny(run, {"X": flat(7, say=say)}))
    # windows: not full; .316; (.316 + 1) / 2 = .658; 1.0; (1 + .4) / 2 = .7 ; .4
    assert codes(seen) == ["vpin", "passed", "passed", "vpin", "passed", "passed"]
    assert np.isnan(seen.toxicity[0, 0])
    assert seen.toxicity[0, 1:6] == pytest.approx([0.1**0.5, (0.1**0.5 + 1) / 2, 1.0, 0.7, 0.4], abs=1e-12)
    say = {1: 0.1, 2: 1.0, 3: 1.0, 4: -0.64, 5: -1.0}
    run = config(risk=dict(vpin=vpin | {"limit": 0.6}))
    seen, _, _ = both(run, tiny(run, {"X": flat(7, say=say)}))
    # bar 1 passes (0.158), bar 2 (0.658) and 3 add and are refused; bar 4 sells 0.64 of 0.1 held: through zero, refused
    assert codes(seen) == ["passed", "vpin", "vpin", "vpin", "vpin"]
    say = {1: 0.16, 3: -1.0, 4: -0.1}
    run = config(risk=dict(vpin=vpin | {"limit": 0.4}), sizing=dict(mode="target"))
    # held 0.16 (bar 1: 0.2); bar 3 wants -1.0: 0.5 toxic, turns over, refused; bar 4 wants -0.1: 0.658, refused
    seen, _, _ = both(run, tiny(run, {"X": flat(6, say=say)}))
    assert codes(seen) == ["passed", "vpin", "vpin"]
    say = {1: 0.16, 3: 0.64, 4: 0.1}
    # bar 3 adds (0.4 of 0.8 / 2: passes); bar 4 comes down to 0.1 at (0.8 + 0.316) / 2 = 0.558: reduces, passes
    seen, _, _ = both(run, tiny(run, {"X": flat(6, say=say)}))
    assert codes(seen) == ["passed", "passed", "passed"]
    assert seen.toxicity[0, 4] > 0.4


MIDNIGHT = DAY // 2 // MINUTE
"""Number of the bar that opens at 00:00; the one before it closes then."""


def falling(*, resume: int = 0) -> list[Bar]:
    """Long 10,000 at 100 from bar 1; down to 96.9 at bar 2 of day one; at midnight and after still 96.9, then 94.0."""
    day_one = [(0, 100.0, 100.0, 1.0), (1, 100.0, 97.0, 0.0), (2, 97.0, 96.9, 0.05), (3, 97.0, 97.0, 0.05)]
    day_two = [
        (MIDNIGHT - 2, 97.0, 97.0, 0.05),
        (MIDNIGHT - 1, 97.0, 97.0, 0.05),  # closes at 00:00: a new day
        (MIDNIGHT, 97.0, 94.4, 0.05),
        (MIDNIGHT + 1, 94.4, 94.0, 0.05),
        (2 * MIDNIGHT, 94.0, 94.0, 0.05),
        (MIDNIGHT + DAY // MINUTE - 1, 94.0, 94.0, 0.05),
        (MIDNIGHT + DAY // MINUTE, 94.0, 94.0, 0.05),
    ]
    return [*day_one, *day_two]


def test_the_days_loss_halts_until_the_next_midnight() -> None:
    run = config(risk=dict(max_daily_loss=0.03))
    seen, core, _ = both(run, tiny(run, {"X": falling()}))
    # bar 2: -3.1 %; at 00:00 the latch opens, base 9,700; 105 units at 94.4: -2.8 %; 110 at 94.0: -3.3 %; open again
    # from the next 00:00
    assert codes(seen) == [
        "passed",
        "daily_loss",
        "daily_loss",
        "daily_loss",
        "passed",
        "passed",
        "daily_loss",
        "daily_loss",
        "passed",
        "passed",
    ]
    alerts = [command.text for command in seen.commands if isinstance(command, Alert)]
    assert alerts == ["halted by daily_loss", "halted by daily_loss"]
    assert core.gate.closed() == ()


def test_the_drawdown_stays_latched_over_every_midnight() -> None:
    run = config(risk=dict(max_drawdown=0.03))
    seen, core, _ = both(run, tiny(run, {"X": falling()}))
    assert codes(seen) == ["passed"] + ["drawdown"] * 9
    assert core.gate.closed() == ("drawdown",)
    assert seen.lots[0, -1] == seen.lots[0, 1]


def test_all_five_trip_in_one_run_in_their_order() -> None:
    vpin = dict(source="bars", limit=0.75, window=1, bucket_volume={"X": 1.0})
    run = config(
        risk=dict(max_daily_loss=0.03, max_drawdown=0.06, max_concentration=1.0, max_order_usd=4_000.0, vpin=vpin)
    )
    start = DAY // 2 // MINUTE
    bars: list[Bar] = [
        (0, 100.0, 100.0, 1.0),  # concentration passes (1.0), order size refuses, and toxic it is as well
        (1, 100.0, 100.0, 0.36),  # toxicity 0.6: passes
        (2, 100.0, 100.0, 0.36),  # passes: 0.72 held
        (3, 100.0, 100.0, 0.36),  # 1.08: concentration
        (4, 100.0, 100.0, -0.64),  # reduces: order size (6,400) refuses
        (5, 100.0, 100.0, 0.2),  # passes, 0.92
        (6, 100.0, 100.0, 0.07),  # passes, 0.99
        (7, 100.0, 96.0, -0.3),  # -3.96 %: daily loss
        (start - 1, 96.0, 96.0, -0.3),  # 00:00: passes, reduces
        (start, 96.0, 93.0, -0.3),  # drawdown beyond 6 %
        (start + 1, 93.0, 93.0, 0.9),
    ]
    seen, _, _ = both(run, tiny(run, {"X": bars}))
    assert codes(seen) == [
        "order_size",
        "passed",
        "passed",
        "concentration",
        "order_size",
        "passed",
        "passed",
        "daily_loss",
        "passed",
        "drawdown",
        "drawdown",
    ]
    toxic = config(risk=dict(max_drawdown=0.06, max_order_usd=20_000.0, vpin=vpin))
    assert codes(both(toxic, tiny(toxic, {"X": bars}))[0])[0] == "vpin"


def test_a_halt_takes_back_the_order_that_waits_in_a_hole() -> None:
    run = config(("X", "Y"), risk=dict(max_daily_loss=0.03))
    bars: dict[str, list[Bar]] = {
        "X": [(0, 100.0, 100.0, 0.0), (1, 100.0, 100.0, 0.5), (5, 100.0, 100.0, 0.0)],
        "Y": [(0, 100.0, 100.0, 1.0), (1, 100.0, 100.0, 0.0), (2, 100.0, 90.0, 0.0), (5, 90.0, 90.0, 0.0)],
    }
    seen, core, folded = both(run, tiny(run, bars))
    assert [type(command) for command in seen.commands if isinstance(command, CancelOrder)] == [CancelOrder]
    assert seen.lots[0].tolist() == [0] * 4 == folded.sink.lots[0].tolist()
    assert core.router.blotter.open_orders() == ()
    assert core.ledger.book[0, 1] == 0


def test_over_a_hole_at_midnight_the_loss_counts_for_the_new_day() -> None:
    run = config(risk=dict(max_daily_loss=0.03))
    bars: list[Bar] = [
        (0, 100.0, 100.0, 1.0),
        (1, 100.0, 100.0, 0.0),
        (MIDNIGHT + 3, 96.0, 96.0, 0.05),
        (MIDNIGHT + 4, 96.0, 96.0, 0.05),
    ]
    assert codes(both(run, tiny(run, {"X": bars}))[0]) == ["passed", "daily_loss", "daily_loss"]


def test_before_trading_starts_nothing_is_decided_but_signals_are_warm() -> None:
    run = config()
    market = tiny(run, {"X": flat(6, say=dict.fromkeys(range(6), 0.01))})
    seen, _, folded = both(run, market, start=3)
    assert seen.decisions["ts_ns"].tolist() == market.close_ns[3:].tolist()
    assert seen.convictions[0].tolist() == folded.sink.trace[0, :, 0].tolist()
    assert seen.convictions[0] == pytest.approx([0.01] * 6)


def test_below_the_smallest_order_is_refused_by_name() -> None:
    run = config(grid=dict(tick_size="0.01", lot_size="0.001", min_notional_usd="100"))
    seen, _, _ = both(run, tiny(run, {"X": flat(4, say={0: 0.0101, 1: 0.011})}))
    assert codes(seen) == ["passed", "passed"]
    run = config(grid=dict(tick_size="0.01", lot_size="0.001", min_notional_usd="102"))
    seen, _, _ = both(run, tiny(run, {"X": flat(4, say={0: 0.0101, 1: 0.011})}))
    assert codes(seen) == ["below_minimum", "passed"]
    assert seen.decisions["lots"].tolist() == [0, 1_100]
