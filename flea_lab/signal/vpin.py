"""VPIN: how one-sided order flow has been, in buckets of equal volume."""

from math import nan
from typing import Annotated, NamedTuple

import numpy as np
from msgspec import Meta

from flea_lab.settings import Settings
from flea_lab.signal.kernel import Bar, Floats, kernel
from flea_lab.signal.rolling import push, total

Volume = Annotated[float, Meta(gt=0.0, le=1e12, description="base units in a bucket")]
EDGE = 1e-9
"""A bucket within this share of full is full: ten trades of 0.1 fill a bucket of 1, although their sum does not."""

Buckets = Annotated[int, Meta(ge=1, le=1_000, description="volume buckets")]


class VpinParams(Settings, frozen=True, kw_only=True):
    """Bucket size in base units, and how many buckets are averaged."""

    bucket_volume: Volume = 100.0
    window: Buckets = 50


class VpinState(NamedTuple):
    """Complete buckets, what the open bucket holds, and VPIN after the last item."""

    buckets: float = 0.0
    filled: float = 0.0
    bought: float = 0.0
    sold: float = 0.0
    vpin: float = nan


@kernel(
    VpinParams,
    VpinState,
    inputs=("volume", "buy_volume"),
    outputs=("vpin",),
    warmup=None,
    memory=lambda p: p.window,
)
def vpin(s: VpinState, bar: Bar, p: VpinParams, memory: Floats) -> VpinState:
    """Sum of |buys - sells| over the last `window` complete buckets, over `window * bucket_volume`.

    What crosses the edge of a bucket is split in proportion; an incomplete bucket does not count. NaN until `window`
    buckets are complete, and from an item whose aggressor is unknown (NaN) for as long as that bucket is in the window.
    Source: Easley, Lopez de Prado, O'Hara, Flow Toxicity and Liquidity in a High-frequency World (2012).
    """
    buckets, filled, bought, sold = s.buckets, s.filled, s.bought, s.sold
    left = bar.volume
    share = bar.buy_volume / bar.volume if bar.volume > 0.0 else 0.0
    # an item of very many buckets fills the window several times over: only the last `window` can matter
    if left > (p.window + 2.0) * p.bucket_volume:
        kept = np.fmod(left, p.bucket_volume) + (p.window + 1.0) * p.bucket_volume
        buckets += np.rint((left - kept) / p.bucket_volume)
        left = kept
    edge = EDGE * p.bucket_volume
    while left > edge:
        room = p.bucket_volume - filled
        if left < room - edge:
            filled += left
            bought += left * share
            sold += left * (1.0 - share)
            break
        bought += room * share
        sold += room * (1.0 - share)
        push(memory, abs(bought - sold))
        buckets += 1.0
        left -= room
        filled = bought = sold = 0.0
    value = total(memory) / (p.window * p.bucket_volume) if buckets >= p.window else nan
    return VpinState(buckets, filled, bought, sold, value)
