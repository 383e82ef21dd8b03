"""For tests: a step that keeps a state and a memory of its own over parts, and so is called on every bar in turn."""

from math import nan
from typing import Annotated, Any, NamedTuple

from msgspec import Meta

from flea_lab.settings import Bars, Settings
from flea_lab.signal import parts
from flea_lab.signal.kernel import Bar, Floats, kernel
from flea_lab.signal.rolling import clip, push, total

Scale = Annotated[float, Meta(gt=0.0, le=100.0, description="percent for full conviction")]


class Params(Settings, frozen=True, kw_only=True):
    fast: Bars = 5
    slow: Bars = 20
    pace: Bars = 4
    scale: Scale = 0.5


class State(NamedTuple):
    n: float = 0.0
    leaning: float = 0.0
    direction: float = nan
    confidence: float = nan


@kernel(
    Params,
    State,
    memory=lambda p: p.pace,
    parts={
        "fast": parts.ema("close", period="fast"),
        "slow": parts.ema("close", period="slow"),
        "swing": parts.deviation("fast", window="slow"),
    },
)
def paced(state: State, bar: Bar, p: Params, memory: Floats, x: Any) -> State:
    """With the distance of two averages, the last `pace` of which are summed, turned once in as many bars."""
    push(memory, 100.0 * (x.fast - x.slow) / (p.scale * x.slow + x.swing))
    n = state.n + 1.0
    leaning = state.leaning
    if n % p.pace == 0.0:
        leaning = clip(total(memory) / p.pace, -1.0, 1.0)
    return State(n, leaning, leaning, min(1.0, abs(leaning) + 0.25 * (leaning != 0.0)))
