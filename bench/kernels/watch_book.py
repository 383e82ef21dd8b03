"""The book of every bar and no opinion: what a diff costs when a signal reads the book."""

from math import nan
from typing import NamedTuple

from flea_lab.settings import Settings
from flea_lab.signal.kernel import kernel


class WatchBookParams(Settings, frozen=True, kw_only=True):
    """None."""


class WatchBookState(NamedTuple):
    """What was read last, and silence."""

    last: float = nan
    direction: float = nan
    confidence: float = nan


@kernel(WatchBookParams, WatchBookState, inputs=("close", "imbalance", "spread_bps"), warmup=lambda _: 1)
def watch_book(s, bar, p, memory):  # noqa: ARG001 (every step has one signature)
    """Direction 0 and confidence 0; reads a bar's book."""
    return WatchBookState(bar.spread_bps, 0.0, 0.0)
