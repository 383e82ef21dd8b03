"""The prints of every bar and no opinion: what a print costs when a signal reads them."""

from math import nan
from typing import NamedTuple

from flea_lab.settings import Settings
from flea_lab.signal.kernel import kernel


class WatchTradesParams(Settings, frozen=True, kw_only=True):
    """None."""


class WatchTradesState(NamedTuple):
    """What was read last, and silence."""

    last: float = nan
    direction: float = nan
    confidence: float = nan


@kernel(WatchTradesParams, WatchTradesState, inputs=("close", "trades", "trade_imbalance"), warmup=lambda _: 1)
def watch_trades(s, bar, p, memory):  # noqa: ARG001 (every step has one signature)
    """Direction 0 and confidence 0; reads the share of buys among a bar's prints."""
    return WatchTradesState(bar.trades, 0.0, 0.0)
