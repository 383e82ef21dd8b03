"""Settings of the desk: which alphas, how they are combined, how a conviction becomes a size."""

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from flea_lab.settings import Fraction, Settings, Weight

Notional = Annotated[float, Meta(gt=0.0, le=10.0, description="a share of equity")]


class AlphaSettings(Settings, frozen=True, kw_only=True):
    """One alpha: the kernel's name, its weight among the others, its parameters."""

    kernel: str
    weight: Weight = 1.0
    params: dict[str, Any] = field(default_factory=dict)


class Combination(Settings, frozen=True, kw_only=True):
    """An alpha below `min_confidence` is left out; a conviction below `min_conviction` is no intent."""

    min_confidence: Fraction = 0.3
    min_conviction: Fraction = 0.15


class Sizing(Settings, frozen=True, kw_only=True):
    """How a conviction becomes dollars.

    `increment` adds equity x `base_fraction` x |conviction| per intent. `target` trades the difference to a position of
    equity x `base_fraction` x conviction, if that difference is at least `rebalance_band` of equity x `base_fraction`.
    `basis` "live" is the account's equity now, "initial" the cash it began with (a fixed stake).
    """

    mode: Literal["increment", "target"] = "increment"
    base_fraction: Notional = 0.10
    basis: Literal["live", "initial"] = "live"
    rebalance_band: Fraction = 0.0
    market_above: Fraction = 0.7
    high_urgency_above: Fraction = 0.8
