"""Limits and the ordered checks, as compiled functions that return a code: 0 passes, NaN refuses.

A share is compared with `not share <= limit`: exactly at the limit passes, beyond it or NaN does not.
"""

from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from msgspec import Meta, field

from flea_lab.compiled import compiled
from flea_lab.model.market import DAY_NS
from flea_lab.money import slipped_ticks
from flea_lab.risk.order_checks import OrderChecks
from flea_lab.settings import Fraction, Settings, Usd

PASSED = 0
DAILY_LOSS, DRAWDOWN, CONCENTRATION, ORDER_SIZE, VPIN = 1, 2, 3, 4, 5
KILL_SWITCH, REDUCING, INVALID_INPUT, BELOW_MINIMUM, DATA = 6, 7, 8, 9, 10
COLLAR, FAT_FINGER, DUPLICATE, THROTTLE = 11, 12, 13, 14

CHECKS: dict[int, tuple[str, str]] = {
    PASSED: ("passed", "every guard passed"),
    DAILY_LOSS: ("daily_loss", "the day's loss is beyond its limit: halted until 00:00 UTC"),
    DRAWDOWN: ("drawdown", "equity fell too far below its peak: halted until a person clears it"),
    CONCENTRATION: ("concentration", "the symbol would be too large a share of the account"),
    ORDER_SIZE: ("order_size", "the order is larger than one order may be"),
    VPIN: ("vpin", "order flow is toxic, or its VPIN is not known: only orders that reduce pass"),
    KILL_SWITCH: ("kill_switch", "halted by a person or by an unexpected error"),
    REDUCING: ("reducing", "only orders that reduce a position pass"),
    INVALID_INPUT: ("invalid_input", "equity, price or size is not a usable number"),
    BELOW_MINIMUM: ("below_minimum", "less than one lot, or below the venue's smallest order"),
    DATA: ("data", "the data had a fault that the configuration does not tolerate"),
    COLLAR: ("collar", "the price is too far from what the market said last, or that moved too far at once"),
    FAT_FINGER: ("fat_finger", "the order is too large a share of what trades in a minute"),
    DUPLICATE: ("duplicate", "an order like it was given a moment ago"),
    THROTTLE: ("throttle", "too many orders in a symbol: only orders that reduce pass until a person allows others"),
}
"""Name and sentence of every code. Tried in this order: 6, 7, 1, 2, 10, 8, 3, 4, 5; the router adds 9, and the look at
the order itself 11 to 14 (`risk.watch`)."""

NAMES = {code: name for code, (name, _) in CHECKS.items()}

# State of the gate, one int64 array: current UTC day, equity at its start, peak equity, four latches, and equity at the
# last close.
DAY, DAY_OPEN, PEAK, DAILY_LATCH, DRAWDOWN_LATCH, KILL_LATCH, REDUCE_LATCH, LAST = range(8)
GATE_SIZE = 8

GateState = npt.NDArray[np.int64]

Window = Annotated[int, Meta(ge=1, le=1_000, description="volume buckets")]


class VpinGate(Settings, frozen=True, kw_only=True):
    """The VPIN guard and where its input comes from.

    `source` "bars" measures VPIN on each bar's taker-buy volume, in buckets of `bucket_volume` base units a symbol,
    "trades" print by print; "absent" declares that there is no such input, and every report says that the guard was
    not applied.
    """

    source: Literal["absent", "bars", "trades"] = "absent"
    limit: Fraction = 0.75
    window: Window = 50
    bucket_volume: dict[str, Annotated[float, Meta(gt=0.0, le=1e12)]] = field(default_factory=dict)


class RiskLimits(Settings, frozen=True, kw_only=True):
    """The limits of the five guards. Shares are fractions of 1; the order limit is in USD at the worst price."""

    max_daily_loss: Fraction = 0.03
    max_drawdown: Fraction = 0.10
    max_concentration: Annotated[float, Meta(gt=0.0, le=10.0, description="a share of equity or exposure")] = 0.25
    concentration_of: Literal["equity", "exposure"] = "equity"
    max_order_usd: Usd = 50_000.0
    vpin: VpinGate = VpinGate()
    orders: OrderChecks = OrderChecks()


@compiled
def new_gate(gate: GateState, equity: int) -> None:
    """Sets every latch open and day start and peak to `equity`; the day is set by the first `advance`."""
    gate[:] = 0
    gate[DAY] = -1
    gate[DAY_OPEN] = equity
    gate[PEAK] = gate[LAST] = equity


@compiled
def advance(gate: GateState, ts_ns: int, equity: int, max_daily_loss: float, max_drawdown: float) -> int:
    """Judges the account once a closed bar, before anything is decided on it.

    The first bar that closes at or after 00:00 UTC starts the day and opens the daily latch. The day's base is the
    equity at the last close at or before 00:00 UTC: over a hole at midnight, the close before the hole, so that a
    loss across it counts. The drawdown latch never opens here. Returns the latches that this bar closed: 1 daily,
    2 drawdown, 3 both.
    """
    day = ts_ns // DAY_NS
    if day > gate[DAY]:
        if gate[DAY] >= 0:
            gate[DAY_OPEN] = equity if ts_ns % DAY_NS == 0 else gate[LAST]
            gate[DAILY_LATCH] = 0
        gate[DAY] = day
    gate[LAST] = equity
    gate[PEAK] = max(gate[PEAK], equity)
    loss = (gate[DAY_OPEN] - equity) / gate[DAY_OPEN] if gate[DAY_OPEN] > 0 else np.nan
    fresh = 0
    if not loss <= max_daily_loss and gate[DAILY_LATCH] == 0:
        gate[DAILY_LATCH] = 1
        fresh = 1
    fall = (gate[PEAK] - equity) / gate[PEAK] if gate[PEAK] > 0 else np.nan
    if not fall <= max_drawdown and gate[DRAWDOWN_LATCH] == 0:
        gate[DRAWDOWN_LATCH] = 1
        fresh += 2
    return fresh


@compiled
def worst_uusd(size: int, ticks: int, slippage_e8: int) -> float:
    """Absolute micro-dollars of an order decided at `ticks`, at the worst price it is expected to pay.

    `size` is signed; a buy pays the slippage and its rounding to a whole tick, a sell is worth most before it.
    """
    paid = slipped_ticks(ticks, True, slippage_e8) if size > 0 else ticks
    return abs(size) * (paid / ticks)


@compiled
def review(
    gate: GateState,
    equity: int,
    before: int,
    size: int,
    gross_before: int,
    worst: float,
    max_concentration: float,
    of_exposure: bool,
    max_order: float,
    vpin_applied: bool,
    vpin: float,
    vpin_limit: float,
    unsettled: bool,
) -> int:
    """The first check that refuses an order of `size` (signed micro-dollars), or 0.

    `before` is the symbol's signed exposure with what is pending, `gross_before` that of all symbols; `worst` is the
    order's absolute value at the worst price it may pay. An order reduces when it ends no further from flat on the
    same side; what reduces passes the concentration and VPIN guards, and passes while the symbol's data is `unsettled`.
    """
    after = before + size
    reduces = abs(after) <= abs(before) and after * (1.0 * before) >= 0.0
    if gate[KILL_LATCH] != 0:
        return KILL_SWITCH
    if gate[REDUCE_LATCH] != 0 and not reduces:
        return REDUCING
    if gate[DAILY_LATCH] != 0:
        return DAILY_LOSS
    if gate[DRAWDOWN_LATCH] != 0:
        return DRAWDOWN
    if unsettled and not reduces:
        return DATA
    if not equity > 0 or size == 0:
        return INVALID_INPUT
    whole = gross_before - abs(before) + abs(after) if of_exposure else equity
    if not reduces and not abs(after) / whole <= max_concentration:
        return CONCENTRATION
    if not worst <= max_order:
        return ORDER_SIZE
    if vpin_applied and not reduces and not vpin <= vpin_limit:
        return VPIN
    return PASSED
