"""Funding carry: be paid by the side that pays, where that is more than coming and going costs."""

from math import nan
from typing import Annotated, NamedTuple

from msgspec import Meta

from flea_lab.settings import Bps, Settings
from flea_lab.signal.kernel import Bar, Floats, kernel
from flea_lab.signal.rolling import clip

Settlements = Annotated[int, Meta(ge=1, le=1_000, description="settlements")]
Hours = Annotated[float, Meta(gt=0.0, le=24.0, description="hours")]
FullBps = Annotated[float, Meta(gt=0.0, le=10_000.0, description="basis points")]


class FundingCarryParams(Settings, frozen=True, kw_only=True):
    """Settlements that a position is held over, what coming and going costs, the net carry for full conviction, the
    funding interval, and how long before a settlement there may be an opinion."""

    hold: Settlements = 3
    round_trip_bps: Bps = 12.0
    full_bps: FullBps = 10.0
    interval_h: Hours = 8.0
    wait_h: Hours = 24.0


class FundingCarryState(NamedTuple):
    """What the last bar said; carry in bps over the settlements held, positive where longs pay."""

    direction: float = nan
    confidence: float = nan
    carry_bps: float = nan
    net_bps: float = nan


@kernel(
    FundingCarryParams,
    FundingCarryState,
    inputs=("funding_rate", "current_rate", "hours_to_funding"),
    optional=("predicted_rate",),
    shown=("carry_bps", "net_bps"),
    warmup=lambda p: 1,
)
def funding_carry(s: FundingCarryState, bar: Bar, p: FundingCarryParams, memory: Floats) -> FundingCarryState:
    """Direction against the side that pays, -sign(carry) x strength; confidence the strength, min(net / full_bps, 1).

    carry = next + (hold - 1) x after, in bps; net = |carry| - round_trip_bps; no opinion unless net is positive and the
    settlement at most `wait_h` away, or where a rate is not known. next = w x current + (1 - w) x last settled with w
    = 1 - hours / interval_h: a venue's current rate is the mean premium of the interval so far, so what is left of it
    is expected as it settled last; after is the predicted rate, next where none is told. Funding as the carry of a
    perpetual: He, Manela, Ross, von Wachter, Fundamentals of perpetual futures (2022); carry as a signal: Koijen,
    Moskowitz, Pedersen, Vrugt, Carry (2018).
    """
    known = clip(1.0 - bar.hours_to_funding / p.interval_h, 0.0, 1.0)
    due = known * bar.current_rate + (1.0 - known) * bar.funding_rate
    after = due if bar.predicted_rate != bar.predicted_rate else bar.predicted_rate
    carry = 1e4 * (due + (p.hold - 1.0) * after)
    net = abs(carry) - p.round_trip_bps
    if not (net > 0.0 and bar.hours_to_funding <= p.wait_h):
        return FundingCarryState(0.0, 0.0, carry, net)
    strength = min(net / p.full_bps, 1.0)
    return FundingCarryState(-strength if carry > 0.0 else strength, strength, carry, net)
