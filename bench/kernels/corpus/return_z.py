"""z-score of returns: against an unusual bar."""

from math import nan
from typing import Annotated, NamedTuple

from msgspec import Meta

from flea_lab.settings import Bars, Settings
from flea_lab.signal import parts
from flea_lab.signal.kernel import kernel

Size = Annotated[float, Meta(gt=0.0, le=1_000.0)]


class Params(Settings, frozen=True, kw_only=True):
    window: Bars = 50
    width: Size = 2.0


class State(NamedTuple):
    direction: float = nan
    confidence: float = nan


@kernel(
    Params,
    State,
    parts={
        "before": parts.lag("close", window=2),
        "move": parts.of(lambda x: x.close / x.before - 1.0, "close", "before"),
        "mean": parts.mean("move", window="window"),
        "sd": parts.deviation("move", window="window"),
    },
)
def return_z(bar, p, x):  # noqa: ARG001 (every such step has one signature)
    """Against a return `width` deviations from the mean; else no opinion."""
    if x.move > x.mean + p.width * x.sd:
        return State(-1.0, 1.0)
    if x.move < x.mean - p.width * x.sd:
        return State(1.0, 1.0)
    return State(0.0, 0.0)
