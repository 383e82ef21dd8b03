"""The gate: ACTIVE, REDUCING or HALTED, with latches that say why and who may open them.

Rules. The daily latch closes on the day's loss and opens by itself at 00:00 UTC. The drawdown latch and the kill switch
open only for a person (`Resume`). HALTED refuses everything; REDUCING lets through what shrinks a position.
"""

from enum import Enum
from typing import Any

import numpy as np

from flea_lab.compiled import direct
from flea_lab.errors import ConfigError
from flea_lab.model.market import DAY_NS
from flea_lab.model.trading import Approved, Control, Halt, OrderIntent, Reduce, Refused, Resume
from flea_lab.risk.checks import (
    CHECKS,
    DAILY_LATCH,
    DAY_OPEN,
    DRAWDOWN_LATCH,
    GATE_SIZE,
    KILL_LATCH,
    LAST,
    PASSED,
    PEAK,
    REDUCE_LATCH,
    GateState,
    RiskLimits,
    advance,
    new_gate,
    review,
)
from flea_lab.risk.watch import Watch

LATCHES = {
    "kill_switch": KILL_LATCH,
    "reducing": REDUCE_LATCH,
    "daily_loss": DAILY_LATCH,
    "drawdown": DRAWDOWN_LATCH,
}
"""Latches by the name a person clears them with; "daily_loss" is not for a person to clear."""


class TradingState(Enum):
    """What the gate lets through."""

    ACTIVE = "active"
    REDUCING = "reducing"
    HALTED = "halted"


FRESH = ((), ("daily_loss",), ("drawdown",), ("daily_loss", "drawdown"))
"""Latches by the bits that `checks.advance` returns."""


class Gate:
    """The risk layer of one account."""

    def __init__(self, limits: RiskLimits, equity_uusd: int) -> None:
        self.limits = limits
        self.state: GateState = np.zeros(GATE_SIZE, dtype=np.int64)
        new_gate(self.state, equity_uusd)
        self._advance = direct(advance, self.state, 0, 0, 0.0, 0.0)
        self._of_exposure = limits.concentration_of == "exposure"
        self._max_order_uusd = limits.max_order_usd * 1e6
        self._vpin_applied = limits.vpin.source != "absent"
        self.watch = Watch(limits.orders)

    @property
    def trading_state(self) -> TradingState:
        """HALTED if a halting latch is closed, else REDUCING or ACTIVE."""
        if self.state[KILL_LATCH] or self.state[DAILY_LATCH] or self.state[DRAWDOWN_LATCH]:
            return TradingState.HALTED
        return TradingState.REDUCING if self.state[REDUCE_LATCH] else TradingState.ACTIVE

    @property
    def day_open_uusd(self) -> int:
        return int(self.state[DAY_OPEN])

    @property
    def peak_uusd(self) -> int:
        return int(self.state[PEAK])

    def closed(self) -> tuple[str, ...]:
        """Names of the latches that are closed."""
        return tuple(name for name, index in LATCHES.items() if self.state[index])

    def advance(self, ts_ns: int, equity_uusd: int) -> tuple[str, ...]:
        """Judges the account at a closed bar; the latches that this closed. See `checks.advance`."""
        fresh = self._advance(self.state, ts_ns, equity_uusd, self.limits.max_daily_loss, self.limits.max_drawdown)
        return FRESH[fresh]

    def on(self, control: Control) -> None:
        """Closes or opens latches as a person asks. The daily latch is opened by the clock alone: `ConfigError`."""
        match control:
            case Halt():
                self.state[KILL_LATCH] = 1
            case Reduce():
                self.state[REDUCE_LATCH] = 1
            case Resume():
                for name in control.clears:
                    if name not in LATCHES or name == "daily_loss":
                        known = ", ".join(sorted(set(LATCHES) - {"daily_loss"}))
                        raise ConfigError(f"latch {name!r} cannot be cleared by a person, only {known}")
                for name in control.clears:
                    self.state[LATCHES[name]] = 0
                    if name == "drawdown":
                        self.state[PEAK] = self.state[LAST]  # the peak begins again from here

    def review(
        self,
        intent: OrderIntent,
        equity: int,
        before: int,
        gross: int,
        worst: float,
        vpin: float,
        unsettled: bool = False,
    ) -> Approved | Refused:
        """The verdict on one intent; see `checks.review` for the arguments, all in micro-dollars."""
        size = intent.size_uusd if intent.side == "buy" else -intent.size_uusd
        code = self.code(size, equity, before, gross, worst, vpin, unsettled)
        return Approved(intent) if code == PASSED else Refused(intent, code, CHECKS[code][1])

    def code(
        self, size: int, equity: int, before: int, gross: int, worst: float, vpin: float, unsettled: bool = False
    ) -> int:
        """The code of `checks.review` under this gate's limits."""
        limits = self.limits
        return review(
            self.state,
            equity,
            before,
            size,
            gross,
            worst,
            limits.max_concentration,
            self._of_exposure,
            self._max_order_uusd,
            self._vpin_applied,
            vpin,
            limits.vpin.limit,
            unsettled,
        )


VPIN_INPUTS = {"absent": "absent", "bars": "taker-buy volume of bars", "trades": "every trade and its aggressor"}


def guards(limits: RiskLimits, bar_ns: int) -> list[dict[str, Any]]:
    """The five guards in order, each with its limit, its input, and whether it can act on bars of `bar_ns`."""
    in_a_day = bar_ns < DAY_NS
    vpin = limits.vpin
    has_vpin = vpin.source != "absent"
    account = "closed bars and fills"
    return [
        {
            "guard": "daily_loss",
            "limit": limits.max_daily_loss,
            "input": account,
            "applied": in_a_day,
            "reason": "" if in_a_day else "every close is the base of its own day",
        },
        {"guard": "drawdown", "limit": limits.max_drawdown, "input": account, "applied": True, "reason": ""},
        {
            "guard": "concentration",
            "limit": limits.max_concentration,
            "input": f"positions and open orders, share of {limits.concentration_of}",
            "applied": True,
            "reason": "",
        },
        {"guard": "order_size", "limit": limits.max_order_usd, "input": "the order", "applied": True, "reason": ""},
        {
            "guard": "vpin",
            "limit": vpin.limit,
            "input": VPIN_INPUTS[vpin.source],
            "applied": has_vpin,
            "reason": "" if has_vpin else "the configuration declares no aggressor data",
        },
    ]
